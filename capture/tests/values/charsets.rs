//! Every code of every character set: the text that we decode is the one that the server converts it to, and a text is
//! called whole exactly when the server makes the same bytes of it again.

use schemas::charset::{Charset, Fidelity};
use schemas::checkpoint::Flavor;

use crate::FLAVORS;
use crate::server::Server;

const SEQUENCE: &str = "WITH RECURSIVE s AS (SELECT 0 AS n UNION ALL SELECT n+1 FROM s WHERE n<255)";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// Compares all codes that the expression makes of `s a, s b`.
async fn compare(server: &mut Server, charset: Charset, code: &str, tables: &str) {
    let name = charset.name();
    let sql = format!(
        "{SEQUENCE} SELECT HEX(code), HEX(CONVERT(CONVERT(code USING {name}) USING utf8mb4)), \
         HEX(CONVERT(CONVERT(CONVERT(code USING {name}) USING utf8mb4) USING {name})) \
         FROM (SELECT {code} AS code FROM {tables}) codes"
    );
    for row in server.texts(&sql).await {
        let code = bytes(row[0].as_deref().unwrap());
        let mut out = vec![];
        let fidelity = charset.decode(&code, &mut out);
        let what = || format!("{:?} {charset:?} {:02x?}: {fidelity:?}, the server says {:?}", server.flavor, code, row);
        let text = row[1].as_deref().map(bytes);
        // a question mark stands for what is no character; so does U+FFFD in some sets, and an empty text on MySQL
        let back = row[2].as_deref().map(bytes);
        let whole = back.as_deref() == Some(&code[..]);
        // MySQL cuts a text where it ceases to be one
        let cut = !whole && back.is_some_and(|back| code.starts_with(&back));
        let unicode = matches!(charset, Charset::Ucs2 | Charset::Utf16 | Charset::Utf16le | Charset::Utf32);
        let damaged = cut
            || text.as_deref().is_none_or(|text| {
                let marks = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'?').count();
                text.is_empty()
                    || (!unicode && String::from_utf8_lossy(text).contains('\u{fffd}'))
                    || (!whole && marks(text) > marks(&code))
            });
        if damaged {
            assert_eq!(fidelity, Fidelity::Damaged, "{}", what());
            continue;
        }
        assert_eq!(Some(&out), text.as_ref(), "{}", what());
        assert_eq!(fidelity, if whole { Fidelity::Whole } else { Fidelity::Reads }, "{}", what());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_of_every_set() {
    for flavor in FLAVORS {
        let mut server = Server::connect(flavor).await;
        for &charset in Charset::ALL {
            if charset == Charset::Gb18030 && flavor == Flavor::Mariadb {
                continue; // it has none
            }
            let single = "CHAR(a.n USING binary)";
            let pair = "CONCAT(CHAR(a.n USING binary), CHAR(b.n USING binary))";
            match charset {
                Charset::Utf8 => {}
                // surrogates are no characters of their own, whatever the server makes of them
                Charset::Ucs2 | Charset::Utf16 => {
                    compare(&mut server, charset, pair, "s a, s b WHERE a.n NOT BETWEEN 0xd8 AND 0xdf").await;
                }
                Charset::Utf16le => {
                    compare(&mut server, charset, pair, "s a, s b WHERE b.n NOT BETWEEN 0xd8 AND 0xdf").await;
                }
                Charset::Utf32 => {
                    let code = format!("CONCAT(X'0001', {pair})");
                    compare(&mut server, charset, &code, "s a, s b").await;
                    let code = format!("CONCAT(X'0000', {pair})");
                    compare(&mut server, charset, &code, "s a, s b WHERE a.n NOT BETWEEN 0xd8 AND 0xdf").await;
                }
                Charset::Gbk | Charset::Gb2312 | Charset::Gb18030 | Charset::Euckr | Charset::Sjis | Charset::Cp932 => {
                    compare(&mut server, charset, single, "s a WHERE a.n < 0x80").await;
                    compare(&mut server, charset, pair, "s a, s b WHERE a.n >= 0x80").await;
                }
                _ => compare(&mut server, charset, single, "s a").await,
            }
            if charset == Charset::Gb18030 {
                let four = "CONCAT(CHAR(a.n USING binary), CHAR(b.n USING binary), CHAR(c.n USING binary), \
                            CHAR(d.n USING binary))";
                let basic = "s a, s b, s c, s d WHERE a.n BETWEEN 0x81 AND 0x84 AND b.n BETWEEN 0x30 AND 0x39 \
                             AND c.n BETWEEN 0x81 AND 0xfe AND d.n BETWEEN 0x30 AND 0x39";
                compare(&mut server, charset, four, basic).await;
                let beyond = "s a, s b, s c, s d WHERE a.n BETWEEN 0x90 AND 0xe3 AND b.n IN (0x30, 0x32) \
                              AND c.n IN (0x81, 0x9a, 0xfe) AND d.n BETWEEN 0x30 AND 0x39";
                compare(&mut server, charset, four, beyond).await;
            }
        }
    }
}

/// Sets that are not here are refused, not guessed.
#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_the_servers_sets_is_known() {
    for flavor in FLAVORS {
        let mut server = Server::connect(flavor).await;
        let sql = "SELECT DISTINCT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS ORDER BY 1";
        let all = server.texts(sql).await;
        let missing: Vec<&str> =
            all.iter().filter_map(|row| row[0].as_deref()).filter(|name| Charset::of(name).is_none()).collect();
        assert_eq!(missing, ["big5", "binary", "eucjpms", "swe7", "ujis"], "{flavor:?}");
    }
}
