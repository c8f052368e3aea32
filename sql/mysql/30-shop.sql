-- The example: a small shop, with a few hundred rows that are the same every time. Safe to apply again.
USE shop;
SET SESSION cte_max_recursion_depth = 10000;

CREATE TABLE IF NOT EXISTS customers (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  email VARCHAR(190) NOT NULL,
  name VARCHAR(120) NOT NULL,
  phone VARCHAR(32) NULL,
  country CHAR(2) NOT NULL,
  tier ENUM('basic', 'plus', 'gold') NOT NULL DEFAULT 'basic',
  born DATE NULL,
  marketing BOOLEAN NOT NULL DEFAULT FALSE,
  created_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  updated_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  UNIQUE KEY customers_email (email)
);

CREATE TABLE IF NOT EXISTS products (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  sku VARCHAR(32) NOT NULL,
  name VARCHAR(160) NOT NULL,
  description TEXT NULL,
  price DECIMAL(10, 2) NOT NULL,
  stock INT NOT NULL DEFAULT 0,
  weight_kg DECIMAL(7, 3) NULL,
  attributes JSON NULL,
  created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
  UNIQUE KEY products_sku (sku),
  CONSTRAINT products_price CHECK (price >= 0),
  CONSTRAINT products_stock CHECK (stock >= 0)
);

CREATE TABLE IF NOT EXISTS orders (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  customer_id BIGINT UNSIGNED NOT NULL,
  status ENUM('new', 'paid', 'shipped', 'delivered', 'cancelled') NOT NULL DEFAULT 'new',
  total DECIMAL(12, 2) NOT NULL DEFAULT 0.00,
  currency CHAR(3) NOT NULL DEFAULT 'EUR',
  note VARCHAR(500) NULL,
  placed_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  shipped_at DATETIME(3) NULL,
  KEY orders_customer (customer_id),
  KEY orders_status (status, placed_at),
  CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customers (id)
);

CREATE TABLE IF NOT EXISTS order_lines (
  order_id BIGINT NOT NULL,
  line_no SMALLINT UNSIGNED NOT NULL,
  product_id INT UNSIGNED NOT NULL,
  quantity INT NOT NULL,
  unit_price DECIMAL(10, 2) NOT NULL,
  discount DECIMAL(5, 4) NOT NULL DEFAULT 0.0000,
  PRIMARY KEY (order_id, line_no),
  KEY order_lines_product (product_id),
  CONSTRAINT order_lines_quantity CHECK (quantity > 0),
  CONSTRAINT order_lines_order FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE,
  CONSTRAINT order_lines_product FOREIGN KEY (product_id) REFERENCES products (id)
);

-- Each table is filled only while it is empty.
INSERT INTO customers (id, email, name, phone, country, tier, born, marketing, created_at, updated_at)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120),
named AS (
  SELECT
    i,
    ELT(1 + MOD(i * 7, 20), 'Ada', 'Bruno', 'Chiara', 'Dmitri', 'Elif', 'Félix', 'Grace', 'Hiro', 'Inês', 'Jörg',
      'Katarzyna', 'Liam', 'Mei', 'Nuria', 'Oluwaseun', 'Priya', 'Quentin', 'Rosa', 'Søren', 'Tomáš') AS first_name,
    ELT(1 + MOD(i * 11, 17), 'Almeida', 'Bauer', 'Castro', 'Dubois', 'Eriksen', 'Fischer', 'García', 'Haddad',
      'Ivanova', 'Jansen', 'Kowalski', 'Lindqvist', 'Moreau', 'Nakamura', 'O''Brien', 'Papadopoulos', 'Yılmaz')
      AS last_name
  FROM n
)
SELECT
  i,
  CONCAT('customer', LPAD(i, 4, '0'), '@example.com'),
  CONCAT(first_name, ' ', last_name),
  IF(MOD(i, 3) = 0, NULL, CONCAT('+49 30 ', LPAD(MOD(i * 7919, 1000000), 6, '0'))),
  ELT(1 + MOD(i, 8), 'DE', 'FR', 'ES', 'IT', 'PT', 'PL', 'SE', 'NL'),
  ELT(1 + MOD(i * i, 3), 'basic', 'plus', 'gold'),
  IF(MOD(i, 5) = 0, NULL, DATE_ADD('1955-01-01', INTERVAL MOD(i * 613, 17000) DAY)),
  MOD(i, 2),
  DATE_ADD('2025-01-01 08:00:00', INTERVAL i * 97 MINUTE),
  DATE_ADD('2025-01-01 08:00:00', INTERVAL i * 97 MINUTE)
FROM named
WHERE NOT EXISTS (SELECT 1 FROM customers AS present);

INSERT INTO products (id, sku, name, description, price, stock, weight_kg, attributes, created_at)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
SELECT
  i,
  CONCAT(ELT(1 + MOD(i, 6), 'MUG', 'TEE', 'BAG', 'PEN', 'CAP', 'LMP'), '-', LPAD(i, 4, '0')),
  CONCAT(
    ELT(1 + MOD(i * 5, 7), 'Blue', 'Crimson', 'Olive', 'Slate', 'Amber', 'Ivory', 'Forest'), ' ',
    ELT(1 + MOD(i, 6), 'mug', 'T-shirt', 'tote bag', 'fountain pen', 'cap', 'desk lamp')),
  IF(MOD(i, 7) = 0, NULL, CONCAT('Made to last. Batch ', CHAR(65 + MOD(i, 26) USING utf8mb4), '.')),
  ROUND(4.90 + MOD(i * 37, 120) + MOD(i, 4) * 0.25, 2),
  50 + MOD(i * 17, 150),
  IF(MOD(i, 6) = 0, NULL, ROUND(0.050 + MOD(i * 13, 40) / 16, 3)),
  JSON_OBJECT(
    'colour', ELT(1 + MOD(i * 5, 7), 'blue', 'crimson', 'olive', 'slate', 'amber', 'ivory', 'forest'),
    'tags', JSON_ARRAY(IF(MOD(i, 2), 'new', 'classic'), 'gift'),
    'eco', MOD(i, 3) = 0),
  DATE_ADD('2024-11-01 09:30:00', INTERVAL i * 6 HOUR)
FROM n
WHERE NOT EXISTS (SELECT 1 FROM products AS present);

INSERT INTO orders (id, customer_id, status, currency, note, placed_at, shipped_at)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250)
SELECT
  i,
  1 + MOD(i * 31, 120),
  ELT(1 + MOD(i * 3, 5), 'new', 'paid', 'shipped', 'delivered', 'cancelled'),
  IF(MOD(i, 9) = 0, 'SEK', 'EUR'),
  IF(MOD(i, 6) = 0, 'Please leave it with a neighbour', NULL),
  DATE_ADD('2025-02-01 10:00:00.123456', INTERVAL i * 53 MINUTE),
  IF(MOD(i * 3, 5) IN (2, 3), DATE_ADD('2025-02-02 14:00:00.500', INTERVAL i * 53 MINUTE), NULL)
FROM n
WHERE NOT EXISTS (SELECT 1 FROM orders AS present);

INSERT INTO order_lines (order_id, line_no, product_id, quantity, unit_price, discount)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250),
k (line_no) AS (SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3)
SELECT orders.id, k.line_no, products.id, 1 + MOD(orders.id * k.line_no, 4), products.price,
  IF(MOD(orders.id + k.line_no, 10) = 0, 0.1250, 0)
FROM orders
JOIN n ON n.i = orders.id
JOIN k ON k.line_no <= 1 + MOD(orders.id, 3)
JOIN products ON products.id = 1 + MOD(orders.id * 7 + k.line_no * 11, 60)
WHERE NOT EXISTS (SELECT 1 FROM order_lines AS present);

UPDATE orders
JOIN (
  SELECT order_id, SUM(ROUND(quantity * unit_price * (1 - discount), 2)) AS total
  FROM order_lines GROUP BY order_id
) AS summed ON summed.order_id = orders.id
SET orders.total = summed.total
WHERE orders.total = 0;
