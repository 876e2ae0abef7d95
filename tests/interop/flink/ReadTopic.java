import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/** Runs the statements of a file in a local mini-cluster and prints the last state of the last one's only row. */
public final class ReadTopic {
  public static void main(String[] arguments) throws Exception {
    String text = Files.readString(Path.of(arguments[0]));
    TableEnvironment tables = TableEnvironment.create(EnvironmentSettings.inStreamingMode());
    tables.getConfig().set("parallelism.default", "1");
    tables.getConfig().set("table.exec.mini-batch.enabled", "true");
    tables.getConfig().set("table.exec.mini-batch.allow-latency", "1 s");
    tables.getConfig().set("table.exec.mini-batch.size", "1000");
    String[] statements = text.split(";\\s*\n");
    for (int i = 0; i < statements.length - 1; i++) {
      tables.executeSql(statements[i]);
    }
    Row last = null;
    try (CloseableIterator<Row> rows = tables.executeSql(statements[statements.length - 1]).collect()) {
      while (rows.hasNext()) {
        Row row = rows.next();
        last = switch (row.getKind()) {
          case INSERT, UPDATE_AFTER -> row;
          case UPDATE_BEFORE, DELETE -> null;
        };
      }
    }
    if (last == null) {
      throw new IllegalStateException("the query has no row");
    }
    StringBuilder line = new StringBuilder();
    for (int i = 0; i < last.getArity(); i++) {
      Object value = last.getField(i);
      line.append(i == 0 ? "" : "\t").append(value instanceof java.math.BigDecimal d ? d.toPlainString() : value);
    }
    System.out.println(line);
  }
}
