//! Values that Debezium 3.5 gets wrong or loses, one test each, on both servers.

use crate::FLAVORS;
use crate::server::Server;

/// The values of one column `c`, as decoded.
async fn stored(name: &str, ty: &str, values: &[&str]) -> Vec<Vec<String>> {
    let mut all = vec![];
    for flavor in FLAVORS {
        let mut server = Server::connect(flavor).await;
        let schema = format!("values_{name}_{flavor:?}_{}", std::process::id()).to_lowercase();
        let rows: Vec<String> = values.iter().enumerate().map(|(i, value)| format!("({i}, {value})")).collect();
        let statements = [
            format!("CREATE TABLE t (id INT PRIMARY KEY, c {ty})"),
            format!("INSERT INTO t VALUES {}", rows.join(", ")),
        ];
        let read = server.rows(&schema, &statements, values.len()).await;
        all.push(read.rows.iter().map(|row| row[1].1.clone()).collect());
        server.run(&format!("DROP DATABASE {schema}")).await;
    }
    all
}

async fn same(name: &str, ty: &str, values: &[(&str, &str)]) {
    let (sql, wanted): (Vec<&str>, Vec<&str>) = values.iter().copied().unzip();
    for got in stored(name, ty, &sql).await {
        assert_eq!(got, wanted, "{ty}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bigint_unsigned_is_not_negative() {
    let values = [("18446744073709551615", "18446744073709551615"), ("9223372036854775808", "9223372036854775808")];
    same("unsigned", "BIGINT UNSIGNED", &values).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn year_one_is_not_2001() {
    let micros = (-719_162_i64 * 86_400_000_000 + 1_000).to_string();
    same("year_one", "DATETIME(6)", &[("'0001-01-01 00:00:00.001'", &micros)]).await;
    same("date_one", "DATE", &[("'0001-01-01'", "-719162"), ("'0099-01-01'", "-683368")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn null_is_not_the_columns_default() {
    same("default", "INT DEFAULT 7", &[("NULL", "NULL"), ("DEFAULT", "7")]).await;
    same("text", "VARCHAR(9) DEFAULT 'x'", &[("NULL", "NULL"), ("''", "")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_dates_are_told_from_the_epoch_and_from_null() {
    let zero = "exact 0000-00-00 00:00:00";
    for null in ["NULL", "NOT NULL"] {
        same("zero_d", &format!("DATE {null}"), &[("'0000-00-00'", "exact 0000-00-00"), ("'1970-01-01'", "0")]).await;
        same("zero_dt", &format!("DATETIME {null}"), &[("'0000-00-00'", zero), ("'1970-01-01'", "0")]).await;
        same("zero_ts", &format!("TIMESTAMP {null} DEFAULT 20200101000000"), &[("'0000-00-00'", zero)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn year_zero_is_not_1900() {
    same("year", "YEAR", &[("0000", "0"), ("'0000'", "0"), ("1901", "1901"), ("'00'", "2000")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_beyond_a_day_and_below_zero() {
    let most = ((838_i64 * 60 + 59) * 60 + 59) * 1_000_000;
    let (most, least, over) = (most.to_string(), (-most).to_string(), (86_400_000_001_i64).to_string());
    let values = [
        ("'838:59:59'", &most[..]),
        ("'-838:59:59'", &least),
        ("'24:00:00.000001'", &over),
        ("'-00:00:00.000001'", "-1"),
    ];
    same("time", "TIME(6)", &values).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_float_is_the_float_that_was_stored() {
    let shown = |number: f32| f64::from(number).to_string();
    let (large, odd) = (shown(3.402_823_5e38), shown(12_345.67));
    same("float", "FLOAT", &[("3.4028235e38", &large), ("12345.67", &odd)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lowest_bit_comes_first() {
    same("bit", "BIT(5)", &[("b'10101'", "21"), ("b'10000'", "16")]).await;
    same("bit64", "BIT(64)", &[("18446744073709551615", "18446744073709551615"), ("1", "1")]).await;
    same("bit1", "BIT(1)", &[("b'1'", "1"), ("b'0'", "0")]).await;
}
