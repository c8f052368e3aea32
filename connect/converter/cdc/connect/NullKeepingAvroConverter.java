package cdc.connect;

import io.apicurio.registry.utils.converter.AvroConverter;
import java.lang.reflect.Field;
import java.util.Map;
import org.apache.kafka.connect.errors.ConnectException;

/**
 * The registry's Avro converter, without its corruption of NULLs.
 *
 * <p>In a nullable column with a default ({@code a INT DEFAULT 5}) the stock converter writes a NULL as 5, because
 * Connect's {@code Struct.get} puts the default in its place. The converter has a switch against that
 * ({@code ignoreDefaultForNullables}), but no configuration property sets it: this class does.
 */
public final class NullKeepingAvroConverter<T> extends AvroConverter<T> {
    @Override
    public void configure(Map<String, ?> configs, boolean isKey) {
        super.configure(configs, isKey);
        try {
            Object avroData = field(AvroConverter.class, "avroData").get(this);
            field(avroData.getClass(), "ignoreDefaultForNullables").setBoolean(avroData, true);
        } catch (ReflectiveOperationException e) {
            throw new ConnectException("this version of the Avro converter can't be made to keep NULLs in columns with"
                + " defaults: pin the version in connect/pom.xml, or adapt NullKeepingAvroConverter", e);
        }
    }

    private static Field field(Class<?> owner, String name) throws NoSuchFieldException {
        Field found = owner.getDeclaredField(name);
        found.setAccessible(true);
        return found;
    }
}
