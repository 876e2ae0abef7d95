//! The labels of an ENUM or SET from the schema's `allowed`.
//!
//! Debezium writes them with commas between them and a backslash before a comma within one, and nothing before a
//! backslash. So `a\,b` is one label with a comma, or two of which the first ends in a backslash. SETs cannot have commas
//! in labels; of ENUMs such a text says nothing for certain.

/// The labels; empty where the text can be read in two ways.
pub(super) fn labels(allowed: &str, set: bool) -> Vec<String> {
    if !set && allowed.contains("\\,") {
        return Vec::new();
    }
    allowed.split(',').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::labels;

    #[test]
    fn what_is_certain() {
        assert_eq!(labels("a,b,ünï", false), ["a", "b", "ünï"]);
        assert_eq!(labels("", false), [""]);
        assert_eq!(labels(r"a\b,\", false), [r"a\b", r"\"]);
        assert!(labels(r"a,x\,y", false).is_empty());
        assert_eq!(labels(r"a\,b", true), [r"a\", "b"]);
    }
}
