//! Kafka's errors as Otter's codes, decided once, where the fact is known.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Kafka};
use schemas::{Code, Error};

/// `doing` completes "cannot ...", with the name of what is concerned.
pub(crate) fn kafka_error(error: KafkaError, doing: &str) -> Error {
    let code = match &error {
        KafkaError::ClientConfig(..) => Code::ConfigInvalid,
        // rdkafka does not give the code of this kind back.
        KafkaError::AdminOp(kafka) => code_of(*kafka),
        other => other.rdkafka_error_code().map_or(Code::KafkaUnavailable, code_of),
    };
    let hint = match code {
        Code::TransactionTimeoutRefused => ": it is beyond the brokers' transaction.max.timeout.ms",
        _ => "",
    };
    Error::new(code, format!("cannot {doing}: {error}{hint}")).with_source(error)
}

fn code_of(kafka: Kafka) -> Code {
    match kafka {
        Kafka::Fenced | Kafka::ProducerFenced | Kafka::InvalidProducerEpoch => Code::ProducerFenced,
        Kafka::InvalidTransactionTimeout => Code::TransactionTimeoutRefused,
        Kafka::MessageSizeTooLarge => Code::RecordTooLarge,
        Kafka::TopicAuthorizationFailed
        | Kafka::GroupAuthorizationFailed
        | Kafka::ClusterAuthorizationFailed
        | Kafka::TransactionalIdAuthorizationFailed => Code::KafkaDenied,
        Kafka::InvalidTopic
        | Kafka::InvalidPartitions
        | Kafka::InvalidReplicationFactor
        | Kafka::InvalidConfig
        | Kafka::PolicyViolation => Code::TopicInvalid,
        Kafka::InvalidTransactionalState | Kafka::State | Kafka::Fatal => Code::TransactionFailed,
        _ => Code::KafkaUnavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_follow_the_cause() {
        let code = |kafka| kafka_error(KafkaError::MessageProduction(kafka), "publish").code();
        assert_eq!(code(Kafka::InvalidProducerEpoch), Code::ProducerFenced);
        assert_eq!(code(Kafka::MessageSizeTooLarge), Code::RecordTooLarge);
        assert_eq!(code(Kafka::BrokerTransportFailure), Code::KafkaUnavailable);
        assert_eq!(code(Kafka::TopicAuthorizationFailed), Code::KafkaDenied);
    }
}
