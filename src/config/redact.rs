//! Which of librdkafka's properties are secret.

use schemas::secret::SecretRef;

/// What occurs in the names of properties that hold secrets.
const SIGNS: [&str; 6] = ["password", "secret", ".pem", "token", "jaas", "oauthbearer.config"];

/// Whether a property's value must not be shown.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SIGNS.iter().any(|sign| key.contains(sign))
}

/// The reference that stands for a secret property's value, when it is one.
pub(super) fn reference(key: &str, value: &str) -> Option<SecretRef> {
    value.parse().ok().filter(|_| is_secret(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_recognised_by_their_keys() {
        for key in ["sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.client.secret"] {
            assert!(is_secret(key), "{key}");
        }
        assert!(!is_secret("sasl.username"));
        assert!(reference("sasl.password", "env:KAFKA_PASSWORD").is_some());
        assert!(reference("client.id", "env:KAFKA_PASSWORD").is_none());
        assert!(reference("sasl.password", "hunter2").is_none());
    }
}
