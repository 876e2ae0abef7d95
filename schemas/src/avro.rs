//! The Avro schemas of a table's events: Debezium's, type by type, with our additions at the end of the records.
//!
//! The text is a pure function of structure and topic, byte for byte: the registry compares texts, and the same table
//! read again must find its id. That is why it is written out here instead of through a JSON map, whose order of keys
//! depends on the features that other crates switch on. What is in it and why: docs/formats/events.md.

use serde_json::Value;

use crate::checkpoint::Flavor;
use crate::escape::{avro_name, avro_namespace};
use crate::table::{Column, ColumnType, TableStructure};
use crate::{Code, Error, Result};

/// The schemas of a table's records, as JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSchemas {
    /// Of the record key; none when the table has no key.
    pub key: Option<String>,
    /// Of the record value, the envelope.
    pub value: String,
}

/// Within `source`: Debezium's fields, then ours.
const SOURCE: &str = concat!(
    r#""fields":[{"name":"version","type":"string"},{"name":"connector","type":"string"},{"name":"name","type":"string"},"#,
    r#"{"name":"ts_ms","type":"long"},{"name":"snapshot","type":[{"type":"string","connect.version":1,"#,
    r#""connect.parameters":{"allowed":"true,first,first_in_data_collection,last_in_data_collection,last,false,"#,
    r#"incremental"},"connect.default":"false","connect.name":"io.debezium.data.Enum"},"null"],"default":"false"},"#,
    r#"{"name":"db","type":"string"},{"name":"sequence","type":["null","string"],"default":null},"#,
    r#"{"name":"ts_us","type":["null","long"],"default":null},{"name":"ts_ns","type":["null","long"],"default":null},"#,
    r#"{"name":"table","type":["null","string"],"default":null},{"name":"server_id","type":"long"},"#,
    r#"{"name":"gtid","type":["null","string"],"default":null},{"name":"file","type":"string"},"#,
    r#"{"name":"pos","type":"long"},{"name":"row","type":"int"},"#,
    r#"{"name":"thread","type":["null","long"],"default":null},"#,
    r#"{"name":"query","type":["null","string"],"default":null},"#,
    r#"{"name":"ordinal","type":"long"},{"name":"generation","type":"int"}],"#,
    r#""connect.version":1,"#,
);

/// The envelope's fields behind `source`: Debezium's, then ours.
const TAIL: &str = concat!(
    r#"{"name":"transaction","type":["null",{"type":"record","name":"block","namespace":"event","fields":["#,
    r#"{"name":"id","type":"string"},{"name":"total_order","type":"long"},"#,
    r#"{"name":"data_collection_order","type":"long"}],"connect.version":1,"connect.name":"event.block"}],"#,
    r#""default":null},{"name":"op","type":"string"},{"name":"ts_ms","type":["null","long"],"default":null},"#,
    r#"{"name":"ts_us","type":["null","long"],"default":null},{"name":"ts_ns","type":["null","long"],"default":null},"#,
    r#"{"name":"exact","type":["null",{"type":"record","name":"Exact","namespace":"otter","fields":["#,
    r#"{"name":"before","type":["null",{"type":"map","values":"string"}],"default":null},"#,
    r#"{"name":"after","type":["null",{"type":"map","values":"string"}],"default":null}],"#,
    r#""connect.version":1,"connect.name":"otter.Exact"}],"default":null}"#,
);

/// The schemas of a table's events on a topic (`names::topic`), read from a server of the flavor.
///
/// # Errors
/// [`Code::TypeUnsupported`] when the key names a column that is not there.
pub fn event_schemas(structure: &TableStructure, topic: &str, flavor: Flavor) -> Result<EventSchemas> {
    let namespace = avro_namespace(topic);
    let columns: Vec<&Column> = structure.columns.iter().collect();
    let fields = fields(&columns);
    let value = format!(
        concat!(
            r#"{{"type":"record","name":"Envelope","namespace":"{ns}","fields":["#,
            r#"{{"name":"before","type":["null",{{"type":"record","name":"Value","fields":[{fields}],"#,
            r#""connect.name":"{ns}.Value"}}],"default":null}},"#,
            r#"{{"name":"after","type":["null","Value"],"default":null}},{{"name":"source","type":{source}}},{tail}],"#,
            r#""connect.version":2,"connect.name":"{ns}.Envelope","otter.schema":{schema},"otter.table":{table}}}"#,
        ),
        ns = namespace,
        fields = fields,
        source = source(flavor),
        tail = TAIL,
        schema = quoted(&structure.name.schema),
        table = quoted(&structure.name.table),
    );
    Ok(EventSchemas { key: key(structure, &namespace)?, value })
}

/// The record of `source`. Debezium names it after the connector.
fn source(flavor: Flavor) -> String {
    let namespace = format!("io.debezium.connector.{}", connector(flavor));
    format!(
        r#"{{"type":"record","name":"Source","namespace":"{namespace}",{SOURCE}"connect.name":"{namespace}.Source"}}"#
    )
}

/// Debezium's name of the connector for a flavor of server.
pub(crate) fn connector(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::Mariadb => "mariadb",
        Flavor::Mysql => "mysql",
    }
}

fn key(structure: &TableStructure, namespace: &str) -> Result<Option<String>> {
    if structure.key.is_empty() {
        return Ok(None);
    }
    let columns: Option<Vec<&Column>> = structure.key.iter().map(|&index| structure.columns.get(index)).collect();
    let columns = columns.ok_or_else(|| {
        Error::new(Code::TypeUnsupported, format!("{}: the key names a column that is not there", structure.name))
    })?;
    Ok(Some(format!(
        r#"{{"type":"record","name":"Key","namespace":"{namespace}","fields":[{}],"connect.name":"{namespace}.Key"}}"#,
        fields(&columns)
    )))
}

fn fields(columns: &[&Column]) -> String {
    let fields: Vec<String> = columns.iter().map(|column| field(column)).collect();
    fields.join(",")
}

/// A column's field. NOT NULL columns have no default: Debezium takes the column's, which is not in the binlog.
fn field(column: &Column) -> String {
    let name = avro_name(&column.name);
    let original =
        if name == column.name { String::new() } else { format!(r#","otter.name":{}"#, quoted(&column.name)) };
    let ty = type_schema(&column.ty);
    if column.nullable {
        format!(r#"{{"name":"{name}","type":["null",{ty}],"default":null{original}}}"#)
    } else {
        format!(r#"{{"name":"{name}","type":{ty}{original}}}"#)
    }
}

fn type_schema(ty: &ColumnType) -> String {
    match *ty {
        ColumnType::Int { bytes: 1, .. } | ColumnType::Int { bytes: 2, unsigned: false } => {
            r#"{"type":"int","connect.type":"int16"}"#.into()
        }
        ColumnType::Int { bytes: 8, unsigned: true } => decimal(20, 0),
        ColumnType::Int { bytes: 8, .. } | ColumnType::Int { bytes: 4, unsigned: true } => r#""long""#.into(),
        ColumnType::Int { .. } => r#""int""#.into(),
        ColumnType::Decimal { precision, scale } => decimal(precision, scale),
        ColumnType::Float => r#""float""#.into(),
        ColumnType::Double => r#""double""#.into(),
        ColumnType::Date => time("int", "Date"),
        ColumnType::Year => time("int", "Year"),
        ColumnType::DateTime { fsp: 0..=3 } => time("long", "Timestamp"),
        ColumnType::DateTime { .. } => time("long", "MicroTimestamp"),
        ColumnType::Timestamp { .. } => time("string", "ZonedTimestamp"),
        ColumnType::Time { .. } => time("long", "MicroTime"),
        ColumnType::Bit { bits: 1 } => r#""boolean""#.into(),
        ColumnType::Bit { bits } => data("bytes", "Bits", &format!(r#""length":"{bits}""#)),
        ColumnType::Enum { ref labels, .. } => data("string", "Enum", &allowed(labels)),
        ColumnType::Set { ref labels, .. } => data("string", "EnumSet", &allowed(labels)),
        ColumnType::Text { .. } => r#""string""#.into(),
        ColumnType::Json { .. } => data("string", "Json", ""),
        ColumnType::Binary { .. } | ColumnType::Bytes { .. } => r#""bytes""#.into(),
    }
}

/// One of Debezium's types of data, with the parameters' JSON.
fn data(ty: &str, name: &str, parameters: &str) -> String {
    let parameters = match parameters {
        "" => String::new(),
        some => format!(r#""connect.parameters":{{{some}}},"#),
    };
    format!(r#"{{"type":"{ty}","connect.version":1,{parameters}"connect.name":"io.debezium.data.{name}"}}"#)
}

/// The labels as Debezium writes them: a comma within one gets a backslash, nothing else does.
fn allowed(labels: &[String]) -> String {
    let escaped: Vec<String> = labels.iter().map(|label| label.replace(',', "\\,")).collect();
    format!(r#""allowed":{}"#, quoted(&escaped.join(",")))
}

/// One of Debezium's types of time.
fn time(ty: &str, name: &str) -> String {
    format!(r#"{{"type":"{ty}","connect.version":1,"connect.name":"io.debezium.time.{name}"}}"#)
}

fn decimal(precision: u8, scale: u8) -> String {
    format!(
        concat!(
            r#"{{"type":"bytes","scale":{scale},"precision":{precision},"connect.version":1,"#,
            r#""connect.parameters":{{"scale":"{scale}","connect.decimal.precision":"{precision}"}},"#,
            r#""connect.name":"org.apache.kafka.connect.data.Decimal","logicalType":"decimal"}}"#,
        ),
        scale = scale,
        precision = precision,
    )
}

/// A JSON string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
