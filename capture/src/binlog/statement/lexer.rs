//! Tokens of SQL text, read lazily and without failing: what is not closed ends with the text.

use schemas::checkpoint::Flavor;

/// The sql_mode bits that change how text is read.
const ANSI_QUOTES: u64 = 1 << 2;
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;

/// A token. Comments and white space are passed over, and executable comments are read as what they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Letters, digits, `_`, `$` and bytes beyond ASCII: a keyword, a bare name, a number.
    Word(&'a [u8]),
    /// A quoted name, its quotes undone.
    Name(Vec<u8>),
    /// A string literal.
    Literal,
    /// Any other sign.
    Sign(u8),
}

impl Token<'_> {
    /// Whether it is this keyword, in whatever case.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword.as_bytes()))
    }

    /// Whether it is one of these keywords.
    pub(super) fn is_any(&self, keywords: &[&str]) -> bool {
        keywords.iter().any(|k| self.is(k))
    }
}

/// The tokens of a text, with one token of foresight.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    mode: u64,
    flavor: Flavor,
    peeked: Option<Option<Token<'a>>>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8], sql_mode: u64, flavor: Flavor) -> Self {
        Self { text, at: 0, mode: sql_mode, flavor, peeked: None }
    }

    pub(super) fn peek(&mut self) -> Option<&Token<'a>> {
        if self.peeked.is_none() {
            self.peeked = Some(self.read());
        }
        self.peeked.as_ref().and_then(Option::as_ref)
    }

    /// Takes the next token when it is this keyword.
    pub(super) fn accept(&mut self, keyword: &str) -> bool {
        let accepted = self.peek().is_some_and(|t| t.is(keyword));
        if accepted {
            self.next();
        }
        accepted
    }

    /// Takes the next token when it is this sign.
    pub(super) fn accept_sign(&mut self, sign: u8) -> bool {
        let accepted = self.peek() == Some(&Token::Sign(sign));
        if accepted {
            self.next();
        }
        accepted
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn read(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        let first = self.byte(0)?;
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80;
        if is_word(first) {
            let rest = &self.text[self.at..];
            let length = rest.iter().position(|b| !is_word(*b)).unwrap_or(rest.len());
            self.at += length;
            return Some(Token::Word(&rest[..length]));
        }
        self.at += 1;
        Some(match first {
            b'`' => Token::Name(self.quoted(b'`', false)),
            b'"' if self.mode & ANSI_QUOTES != 0 => Token::Name(self.quoted(b'"', false)),
            b'"' | b'\'' => {
                self.quoted(first, self.mode & NO_BACKSLASH_ESCAPES == 0);
                Token::Literal
            }
            other => Token::Sign(other),
        })
    }

    /// What stands up to the closing quote; a doubled quote stands for one.
    fn quoted(&mut self, quote: u8, escapes: bool) -> Vec<u8> {
        let mut name = Vec::new();
        while let Some(byte) = self.byte(0) {
            self.at += 1;
            if byte == b'\\' && escapes {
                self.at += 1;
            } else if byte != quote {
                name.push(byte);
            } else if self.byte(0) == Some(quote) {
                name.push(quote);
                self.at += 1;
            } else {
                break;
            }
        }
        name
    }

    fn skip_blanks(&mut self) {
        while let Some(byte) = self.byte(0) {
            match (byte, self.byte(1)) {
                (b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c | 0, _) => self.at += 1,
                (b'#', _) => self.skip_line(),
                (b'-', Some(b'-')) if self.byte(2).is_none_or(|b| b.is_ascii_whitespace() || b.is_ascii_control()) => {
                    self.skip_line();
                }
                (b'/', Some(b'*')) => self.skip_comment(),
                // The end of an executable comment; between operators it could only be a syntax error.
                (b'*', Some(b'/')) => self.at += 2,
                _ => return,
            }
        }
    }

    fn skip_line(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |end| end + 1);
    }

    /// Passes over a comment, or only over the head of an executable one: `/*!50100 …*/`, `/*M!100100 …*/`.
    fn skip_comment(&mut self) {
        let rest = &self.text[self.at + 2..];
        let mariadb = rest.starts_with(b"M!") && self.flavor == Flavor::Mariadb;
        if mariadb || rest.starts_with(b"!") {
            let head = if mariadb { 2 } else { 1 };
            let digits = rest[head..].iter().take_while(|b| b.is_ascii_digit()).count().min(6);
            // MariaDB does not execute what is meant for MySQL 5.7 and newer, nor MySQL what is meant for its versions from
            // 10 on, which would be MariaDB's.
            let version = rest[head..head + digits].iter().fold(0_u32, |n, b| n * 10 + u32::from(b - b'0'));
            let executed = match self.flavor {
                Flavor::Mariadb => mariadb || !(50_700..=99_999).contains(&version),
                Flavor::Mysql => version < 100_000,
            };
            if executed {
                self.at += 2 + head + digits;
                return;
            }
        }
        let end = rest.windows(2).position(|pair| pair == b"*/");
        self.at = end.map_or(self.text.len(), |end| self.at + 2 + end + 2);
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        match self.peeked.take() {
            Some(token) => token,
            None => self.read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(sql: &str, mode: u64) -> Vec<String> {
        tokens_of(sql, mode, Flavor::Mariadb)
    }

    fn tokens_of(sql: &str, mode: u64, flavor: Flavor) -> Vec<String> {
        let show = |token| match token {
            Token::Word(word) => String::from_utf8_lossy(word).into_owned(),
            Token::Name(name) => format!("`{}`", String::from_utf8_lossy(&name)),
            Token::Literal => "?".to_owned(),
            Token::Sign(sign) => char::from(sign).to_string(),
        };
        Lexer::new(sql.as_bytes(), mode, flavor).map(show).collect()
    }

    #[test]
    fn comments_and_quotes_are_understood() {
        assert_eq!(tokens("a -- b\n#c\nd/* e */f", 0), ["a", "d", "f"]);
        assert_eq!(tokens("/*!40000 a */ /*M!100100 b */ /*!80000 c */ d", 0), ["a", "b", "d"]);
        let text = "/*!40000 a */ /*M!100100 b */ /*!80000 c */ /*!100100 e */ d";
        assert_eq!(tokens_of(text, 0, Flavor::Mysql), ["a", "c", "d"]);
        assert_eq!(tokens("`a``b`.'it''s \\' x' \"y\"", 0), ["`a`b`", ".", "?", "?"]);
        assert_eq!(tokens("\"a\" 'b\\' c", ANSI_QUOTES | NO_BACKSLASH_ESCAPES), ["`a`", "?", "c"]);
        assert_eq!(tokens("1--1 `用户`.表 'open", 0), ["1", "-", "-", "1", "`用户`", ".", "表", "?"]);
    }
}
