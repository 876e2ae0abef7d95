//! The cases: columns, rows in SQL, and which servers have them.

use crate::harness::Kind;

/// Kinds of the servers at both ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pairing {
    pub(super) from: Kind,
    pub(super) to: Kind,
}

/// Which pairings a case, or some of its rows, are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    Any,
    /// Both ends are MariaDB.
    Mariadb,
    /// Both ends are MySQL.
    Mysql,
}

impl On {
    fn fits(self, pairing: Pairing) -> bool {
        let both = |kind| pairing.from == kind && pairing.to == kind;
        match self {
            Self::Any => true,
            Self::Mariadb => both(Kind::Mariadb),
            Self::Mysql => both(Kind::Mysql),
        }
    }
}

/// A table.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    on: On,
    columns: &'static str,
    /// The target's columns, where they are others.
    pub(super) target: Option<&'static str>,
    /// Names of the columns that an insert gives, in parentheses; empty for all.
    pub(super) names: &'static str,
    /// What stands behind VALUES, or a whole statement with `{t}` as the table.
    rows: &'static [(On, &'static str)],
    /// The columns that the updates turn round.
    pub(super) set: Option<&'static str>,
    /// What shows a row, where the tables are not of one structure.
    pub(super) compare: Option<&'static str>,
}

const PLAIN: Case =
    Case { name: "", on: On::Any, columns: "", target: None, names: "", rows: &[], set: None, compare: None };

impl Case {
    pub(super) fn fits(&self, pairing: Pairing) -> bool {
        self.on.fits(pairing)
    }

    /// The columns of the source's table.
    pub(super) fn columns(&self) -> String {
        filled(self.columns)
    }

    pub(super) fn rows(&self, pairing: Pairing) -> Vec<String> {
        self.rows.iter().filter(|(on, _)| on.fits(pairing)).map(|(_, row)| filled(row)).collect()
    }
}

/// Long lists in the place of their names: `{set64}` and `{enum300}` are columns' types, `{all64}` all labels of the set.
fn filled(text: &str) -> String {
    let labels = |count: u32| (1..=count).map(|i| format!("'l{i}'")).collect::<Vec<_>>().join(",");
    let all: Vec<String> = (1..=64).map(|i| format!("l{i}")).collect();
    text.replace("{set64}", &format!("set({})", labels(64)))
        .replace("{enum300}", &format!("enum({})", labels(300)))
        .replace("{all64}", &all.join(","))
}

use On::{Any, Mariadb, Mysql};

pub(super) const CASES: &[Case] = &[
    // N1, N2, N4, N5: signs and widths; BIGINT UNSIGNED never negative
    Case {
        name: "n2_integers",
        columns: "id int primary key, t tinyint, tu tinyint unsigned, b tinyint(1), s smallint, su smallint unsigned, m mediumint, mu mediumint unsigned, \
                  i int, iu int unsigned, z int(5) zerofill, l bigint, lu bigint unsigned",
        rows: &[
            (Any, "(1, -128, 0, 2, -32768, 0, -8388608, 0, -2147483648, 0, 0, -9223372036854775808, 0)"),
            (
                Any,
                "(2, 127, 255, -1, 32767, 65535, 8388607, 16777215, 2147483647, 4294967295, 4294967295, 9223372036854775807, 18446744073709551615)",
            ),
            (Any, "(3, NULL, NULL, 127, NULL, NULL, NULL, NULL, NULL, NULL, 42, NULL, 9223372036854775808)"),
        ],
        set: Some("t, tu, b, s, su, m, mu, i, iu, z, l, lu"),
        ..PLAIN
    },
    // N6, N7: digits and bits
    Case {
        name: "n7_fractions",
        columns: "id int primary key, d65 decimal(65,30), d0 decimal(65,0), d5 decimal(5,5), f float, f72 float(7,2), g double",
        rows: &[
            (
                Any,
                "(1, 99999999999999999999999999999999999.999999999999999999999999999999, -99999999999999999999999999999999999999999999999999999999999999999, 0.99999, 3.4028235e38, 12345.67, -1.7976931348623157e308)",
            ),
            (Any, "(2, -0.000000000000000000000000000001, 0, -0.00001, 0.1, -0.01, 5e-324)"),
            (Any, "(3, NULL, 1, 0, -1.1754944e-38, 0, -0.0)"),
            (Any, "(4, 0, NULL, NULL, 1e-45, NULL, 0.1)"),
        ],
        set: Some("d65, d0, d5, f, f72, g"),
        compare: Some(
            "CONCAT_WS('|', id, COALESCE(d65, '-'), COALESCE(d0, '-'), COALESCE(d5, '-'), COALESCE(CAST(f AS DOUBLE), '-'), COALESCE(f72, '-'), COALESCE(g, '-'))",
        ),
        ..PLAIN
    },
    // N8
    Case {
        name: "n8_bits",
        columns: "id int primary key, b1 bit(1), b5 bit(5) not null default b'101', b8 bit(8), b33 bit(33), b64 bit(64)",
        rows: &[
            (Any, "(1, b'1', b'10101', 255, 0x1ffffffff, 0xffffffffffffffff)"),
            (Any, "(2, 0, 0, 0, 0, 0)"),
            (Any, "(3, NULL, 1, 1, 4294967296, 0x8000000000000001)"),
        ],
        set: Some("b1, b5, b8, b33, b64"),
        ..PLAIN
    },
    // N9
    Case {
        name: "n9_auto_increment",
        columns: "id int auto_increment primary key, v varchar(9)",
        rows: &[(Any, "(0, 'zero')"), (Any, "(-5, 'minus')"), (Any, "(NULL, 'next')")],
        ..PLAIN
    },
    // S1, S7, S10: whole Unicode, trailing spaces, lengths
    Case {
        name: "s1_unicode",
        columns: "id int primary key, `größe ``x``` varchar(200), c char(10), v255 varchar(255), tx text, lt longtext, n nchar(5)",
        rows: &[
            (
                Any,
                "(1, '😀 漢字 \\0 \\' \\\\ \"', 'é  ', REPEAT('é', 255), REPEAT('長', 20000), REPEAT('😀', 70000), 'ñ')",
            ),
            (Any, "(2, ' a ', '', '', '', '', '')"),
            (Any, "(3, 'x  ', NULL, NULL, NULL, NULL, NULL)"),
        ],
        set: Some("c, v255, tx, lt, n"),
        ..PLAIN
    },
    // S2 to S5: a character set for each column
    Case {
        name: "s5_charsets",
        columns: "id int primary key, a varchar(40) character set latin1, b varchar(40) character set gbk, c varchar(40) character set sjis, \
                  d varchar(40) character set euckr, e varchar(40) character set gb2312, f varchar(40) character set cp932, g varchar(40) character set ucs2, \
                  h varchar(40) character set utf16, i varchar(40) character set utf16le, j varchar(40) character set utf32, k varchar(40) character set cp1251, \
                  l varchar(40) character set latin2, m varchar(40) character set greek, n varchar(40) character set koi8r, o varchar(40) character set utf8mb3, \
                  p varchar(40) character set ascii, q varchar(40) character set cp1250, r varchar(40) character set tis620, s varchar(40) character set hebrew, \
                  t text character set gbk",
        rows: &[
            (
                Any,
                "(1, CONVERT(X'8081FF9F' USING latin1), '漢字\\\\', '日本語ソ', '한국어', '中文', '日本語ﾊﾛｰ', 'ж漢', '😀漢', '😀', '😀', 'Привет', 'žluťoučký', 'Ελλάδα', 'мир', '漢字é', 'plain', 'Žluť', 'ไทย', 'שלום', REPEAT('汉', 3000))",
            ),
            (Any, "(2, 'a ', ' a', '', 'é' IS NULL, 'a', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '')"),
            (
                Any,
                "(3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
            ),
        ],
        set: Some("a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t"),
        ..PLAIN
    },
    // S3, and the mapping into another character set
    Case {
        name: "s3_other_charset",
        columns: "id int primary key, a varchar(20) character set latin1, b varchar(20)",
        target: Some("id int primary key, a varchar(20), b varchar(20) character set latin1"),
        rows: &[(Any, "(1, CONVERT(X'80E9' USING latin1), '€é')"), (Any, "(2, 'é', 'ÿ')")],
        set: Some("a, b"),
        compare: Some("CONCAT_WS('|', id, HEX(CONVERT(a USING utf8mb4)), HEX(CONVERT(b USING utf8mb4)))"),
        ..PLAIN
    },
    // S8, S9, S16
    Case {
        name: "s8_bytes",
        columns: "id int primary key, bi binary(6), vb varbinary(300), tb tinyblob, bl blob, lb longblob, cb char(5) character set binary, tx text character set binary",
        rows: &[
            (Any, "(1, X'000100', X'00', X'FF00', REPEAT(X'00FF', 30000), REPEAT('z', 300000), 'a', X'FFFE')"),
            (Any, "(2, '', '', '', '', '', '', '')"),
            (Any, "(3, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"),
        ],
        set: Some("bi, vb, tb, bl, lb, cb, tx"),
        ..PLAIN
    },
    // S11
    Case {
        name: "s11_labels",
        columns: "id int primary key, e enum('it''s','x,y','ünï','1','back\\\\slash','') not null, big {enum300}, s set('fo ur','ünï','1'), s64 {set64}, l enum('é','ß') character set latin1",
        rows: &[
            (Any, "(1, 'it''s', 'l300', 'fo ur,1', '{all64}', 'é')"),
            (Any, "(2, 'x,y', 'l256', '', 'l64', 'ß')"),
            (Any, "(3, 'ünï', 'l255', 'ünï', 'l1', NULL)"),
            (Any, "(4, '1', NULL, NULL, '', NULL)"),
            (Any, "(5, 'back\\\\slash', 'l1', '1', NULL, NULL)"),
            (Any, "(6, '', 'l1', '1', NULL, NULL)"),
        ],
        set: Some("e, big, s, s64, l"),
        ..PLAIN
    },
    // S12: a label goes by its name, not by its number
    Case {
        name: "s12_label_order",
        columns: "id int primary key, e enum('a','b','c'), s set('x','y','z')",
        target: Some("id int primary key, e enum('new','c','a','b'), s set('z','new','y','x')"),
        rows: &[(Any, "(1, 'a', 'x,z')"), (Any, "(2, 'c', 'x,y,z')"), (Any, "(3, 'b', '')")],
        set: Some("e, s"),
        compare: Some(
            "CONCAT_WS('|', id, e, FIND_IN_SET('x', s) > 0, FIND_IN_SET('y', s) > 0, FIND_IN_SET('z', s) > 0)",
        ),
        ..PLAIN
    },
    // T1: kept apart from NULL, from the epoch and from each other
    Case {
        name: "t1_dates_of_no_calendar",
        columns: "id int primary key, d date, dn date not null default '0000-00-00', dt datetime, dn6 datetime(6) not null, ts timestamp null, tn timestamp not null default '0000-00-00 00:00:00'",
        rows: &[
            (Any, "(1, '0000-00-00', '0000-00-00', '0000-00-00', '0000-00-00', '0000-00-00', '0000-00-00')"),
            (
                Any,
                "(2, '2026-02-31', '2026-02-31', '2026-02-31 10:11:12', '2026-02-31 10:11:12.123456', NULL, '1970-01-01 00:00:01')",
            ),
            (
                Any,
                "(3, '2020-00-10', '2020-02-00', '2020-00-10 23:59:59', '2020-02-00 00:00:00.000001', '2038-01-19 03:14:07', '0000-00-00')",
            ),
            (Any, "(4, '1970-01-01', '1970-01-01', '1970-01-01', '1970-01-01', '1970-01-01 00:00:01', '2001-01-01')"),
            (Any, "(5, NULL, '0000-00-00', NULL, '0000-00-00', NULL, '0000-00-00')"),
            (Any, "(6, '2023-02-29', '2023-04-31', '2023-02-29', '2023-06-31 01:00:00', '0000-00-00', '2001-01-01')"),
        ],
        set: Some("d, dn, dt, dn6, ts, tn"),
        ..PLAIN
    },
    // T2 to T4, T7: ends of ranges, no two-digit years, no Julian shift
    Case {
        name: "t2_dates",
        columns: "id int primary key, d date, dt datetime, dt1 datetime(1), dt3 datetime(3), dt6 datetime(6), ts timestamp null, ts6 timestamp(6) null, y year",
        rows: &[
            (
                Any,
                "(1, '0001-01-01', '0001-01-01 00:00:00', '0001-01-01 00:00:00.1', '0001-01-01 00:00:00.001', '0001-01-01 00:00:00.000001', '1970-01-01 00:00:01', '1970-01-01 00:00:01.000001', 0)",
            ),
            (
                Any,
                "(2, '9999-12-31', '9999-12-31 23:59:59', '9999-12-31 23:59:59.9', '9999-12-31 23:59:59.999', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07', '2038-01-19 03:14:07.999999', 2155)",
            ),
            (
                Any,
                "(3, '1582-10-10', '1000-01-01', '1969-12-31 23:59:59.9', '1969-12-31 23:59:59.999', '1969-12-31 23:59:59.999999', NULL, NULL, 1901)",
            ),
            (Any, "(4, NULL, NULL, NULL, NULL, NULL, '2024-03-31 01:30:00', '2024-10-27 01:30:00.5', NULL)"),
        ],
        set: Some("d, dt, dt1, dt3, dt6, ts, ts6, y"),
        ..PLAIN
    },
    // T6
    Case {
        name: "t6_times",
        columns: "id int primary key, t time, t1 time(1), t6 time(6)",
        rows: &[
            (Any, "(1, '838:59:59', '838:59:58.9', '838:59:58.999999')"),
            (Any, "(2, '-838:59:59', '-838:59:58.9', '-838:59:58.999999')"),
            (Any, "(3, '00:00:00', '-00:00:00.1', '-00:00:00.000001')"),
            (Any, "(4, '24:00:01', NULL, '24:00:00.000001')"),
            (Mariadb, "(5, NULL, '838:59:59.9', '838:59:59.999999')"),
            (Mariadb, "(6, NULL, '-838:59:59.9', '-838:59:59.999999')"),
        ],
        set: Some("t, t1, t6"),
        ..PLAIN
    },
    // T9, and a NULL that is not the default
    Case {
        name: "t9_defaults",
        columns: "id int primary key, n int default 7, v varchar(9) default 'x', at timestamp(6) null default current_timestamp(6) on update current_timestamp(6)",
        rows: &[
            (Any, "(1, NULL, NULL, NULL)"),
            (Any, "(2, DEFAULT, DEFAULT, DEFAULT)"),
            (Any, "UPDATE {t} SET n = 8"),
            (Any, "(3, 1, '', '2001-01-01')"),
        ],
        set: Some("n, v"),
        ..PLAIN
    },
    // J1 in the form in which MySQL prints it, so that both servers hold the same text
    Case {
        name: "j1_json",
        columns: "id int primary key, j json",
        rows: &[
            (
                Any,
                r#"(1, '{"a": [1, 1.0, -0.5, null, true, "é😀", {}], "bb": 18446744073709551615, "é": -9223372036854775808}')"#,
            ),
            (Any, "(2, 'null')"),
            (Any, "(3, NULL)"),
            (Any, r#"(4, '"\\"\\\\\\n"')"#),
            (Any, "(5, '[]')"),
        ],
        set: Some("j"),
        ..PLAIN
    },
    // MariaDB's keeps every byte
    Case {
        name: "j1_json_text",
        on: Mariadb,
        columns: "id int primary key, j json",
        rows: &[(Mariadb, r#"(1, '{ "a" : 1, "a":123456789012345678901234567890.10 }')"#), (Mariadb, "(2, ' [ ] ')")],
        set: Some("j"),
        ..PLAIN
    },
    // J2, J3
    Case {
        name: "j2_json_values",
        on: Mysql,
        columns: "id int primary key, j json",
        rows: &[
            (
                Mysql,
                "(1, JSON_OBJECT('d', CAST('2024-01-02' AS DATE), 't', CAST('-838:59:59' AS TIME(6)), 'dt', CAST('2024-01-02 03:04:05.123456' AS DATETIME(6)), 'b', b'101'))",
            ),
            (Mysql, "(2, JSON_ARRAY(X'00FF', 1e300, 0.1, 1e0, -1))"),
            (Mysql, "(3, CONCAT('[', REPEAT('{\"key\": \"0123456789\"}, ', 9000), '1]'))"),
        ],
        set: Some("j"),
        ..PLAIN
    },
    // C1
    Case {
        name: "c1_generated",
        columns: "id int primary key, a int, b varchar(20), twice bigint as (a * 2) virtual, both_of varchar(40) as (concat(a, b)) stored, unique (both_of)",
        names: "(id, a, b)",
        rows: &[(Any, "(1, 1, 'x')"), (Any, "(2, 2, NULL)"), (Any, "(3, NULL, 'y')")],
        set: Some("a"),
        ..PLAIN
    },
    // C4
    Case {
        name: "c4_invisible",
        columns: "id int primary key, a int, i int invisible default 7",
        names: "(id, a, i)",
        rows: &[(Any, "(1, 1, 1)"), (Any, "(2, 2, NULL)"), (Any, "(3, 3, DEFAULT)")],
        set: Some("a, i"),
        ..PLAIN
    },
    // C7: by name; more columns, another order, wider types
    Case {
        name: "c7_other_columns",
        columns: "id int primary key, a smallint, b varchar(10), c decimal(5,2), d datetime, f float, e enum('x','y')",
        target: Some(
            "extra int default 5, f double, e varchar(5), d datetime(6), c decimal(20,4), b longtext, a bigint, id bigint primary key",
        ),
        rows: &[
            (Any, "(1, -1, 'é', 1.25, '2024-01-01', 0.1, 'x')"),
            (Any, "(2, NULL, NULL, NULL, '0000-00-00', NULL, NULL)"),
        ],
        set: Some("a, b, c, d, e"),
        compare: Some(
            "CONCAT_WS('|', id, COALESCE(a, '-'), COALESCE(b, '-'), COALESCE(c + 0.0000, '-'), COALESCE(CAST(d AS DATETIME(6)), '-'), COALESCE(f + 0e0, '-'), COALESCE(e, '-'))",
        ),
        ..PLAIN
    },
    // R5: keys that fold, pad, or have no number of their own
    Case {
        name: "r5_enum_set_key",
        columns: "id int, e enum('b','a','1'), s {set64}, v int, primary key (e, s)",
        rows: &[
            (Any, "(1, 'a', '{all64}', 1)"),
            (Any, "(2, 'a', 'l64', 1)"),
            (Any, "(3, '1', '', 1)"),
            (Any, "UPDATE {t} SET s = 'l2', v = 2 WHERE id = 2"),
            (Any, "(4, 'b', 'l64', 1)"),
        ],
        set: Some("v"),
        ..PLAIN
    },
    Case {
        name: "r5_bit_year_key",
        columns: "id int, b bit(64), y year, v int, primary key (b, y)",
        rows: &[
            (Any, "(1, 0xffffffffffffffff, 0, 1)"),
            (Any, "(2, 0xfffffffffffffffe, 0, 1)"),
            (Any, "(3, 0, 2000, 1)"),
            (Any, "UPDATE {t} SET y = 1901, b = 1 WHERE id = 2"),
            (Any, "(4, 0xfffffffffffffffe, 0, 1)"),
        ],
        set: Some("v"),
        ..PLAIN
    },
    Case {
        name: "r5_date_key",
        columns: "id int, d date, dt datetime(3), v int, primary key (d, dt)",
        rows: &[
            (
                Any,
                "(1, '0000-00-00', '0000-00-00', 1), (2, '1970-01-01', '1970-01-01', 1), (3, '2020-00-10', '2026-02-31 01:02:03.456', 1), (4, '2020-00-00', '1970-01-01', 1)",
            ),
            (Any, "UPDATE {t} SET v = 2"),
            (Any, "UPDATE {t} SET d = '0000-00-00' WHERE id = 2"),
            (Any, "DELETE FROM {t} WHERE id = 1"),
            (Any, "(5, '1970-01-01', '1970-01-01', 5)"),
        ],
        set: Some("v"),
        ..PLAIN
    },
    Case {
        name: "r5_text_key",
        columns: "id int, k varchar(20) character set latin1, g char(20) character set gbk, v int, primary key (k, g)",
        rows: &[
            (Any, "(1, 'é', '汉', 1), (2, 'a', '', 1), (3, 'Zoë', '汉字\\\\', 1)"),
            (Any, "UPDATE {t} SET k = 'É' WHERE id = 1"),
            (Any, "UPDATE {t} SET k = 'A' WHERE id = 2"),
            (Any, "DELETE FROM {t} WHERE k = 'zoë'"),
            (Any, "(4, 'ZOË', '汉字', 1)"),
        ],
        set: Some("v"),
        ..PLAIN
    },
    // NO PAD: with and without a space are two keys
    Case {
        name: "r5_no_pad_key",
        on: Mysql,
        columns: "id int, k varchar(20) collate utf8mb4_0900_ai_ci primary key, v int",
        rows: &[
            (Mysql, "(1, 'a', 1), (2, 'a ', 1), (3, 'b', 1)"),
            (Mysql, "UPDATE {t} SET k = 'A ' WHERE id = 2"),
            (Mysql, "DELETE FROM {t} WHERE k = 'A'"),
        ],
        set: Some("v"),
        ..PLAIN
    },
];
