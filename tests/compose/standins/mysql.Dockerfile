# Stands in for mysql:9.x: Debian's MySQL, under the official image's contract.
FROM cdc-standin
COPY bundle /opt/mysql
COPY mysql.cnf /etc/my.cnf
COPY mysql-command /usr/local/bin/mysqld
COPY mysql-command /usr/local/bin/mysql
COPY mysql-command /usr/local/bin/mysqladmin
COPY mysql-entrypoint /usr/local/bin/docker-entrypoint.sh
RUN useradd --system --uid 999 --home-dir /var/lib/mysql mysql && \
    share=$(dirname /opt/mysql/usr/share/mysql*/english) && \
    printf 'lc-messages-dir = %s\ncharacter-sets-dir = %s\n' "$share" "$share/charsets" >>/etc/my.cnf && \
    mkdir -p /docker-entrypoint-initdb.d /var/lib/mysql /var/run/mysqld && \
    chown mysql:mysql /var/lib/mysql /var/run/mysqld && \
    chmod 755 /usr/local/bin/*
VOLUME /var/lib/mysql
EXPOSE 3306
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["mysqld"]
