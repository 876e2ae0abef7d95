//! The table of codes: what went wrong, how Otter reacts, what the operator does.
//!
//! Codes are append-only: an id, once released, keeps its meaning. Each has a page in docs/errors, which is part of the
//! binary, so a code without its page does not compile.
//! OT1xxx documents, configuration, command line; OT2xxx ZooKeeper; OT3xxx source and capture; OT4xxx Kafka;
//! OT5xxx apply and target.

/// What Otter does about an error, decided by its code alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Try again with backoff: the cause is expected to go away.
    Retry,
    /// The lane of the table pauses; other tables go on.
    PauseTable,
    /// The source, pipeline or command stops until somebody changes something.
    Stop,
}

impl Reaction {
    /// In words, as the pages of docs/errors begin with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::PauseTable => "pause table",
            Self::Stop => "stop",
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $id:literal, $reaction:ident, $title:literal, $remedy:literal;)*) => {
        /// A code as operators see it, such as `OT1001`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $title] $variant,)* }

        impl Code {
            /// Every code there is, in order of definition.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The id, such as `OT1001`.
            pub fn id(self) -> &'static str { match self { $(Code::$variant => $id,)* } }

            /// One line: what the code stands for.
            pub fn title(self) -> &'static str { match self { $(Code::$variant => $title,)* } }

            /// What the operator does about it.
            pub fn remedy(self) -> &'static str { match self { $(Code::$variant => $remedy,)* } }

            /// The page of docs/errors, in Markdown: what it means and what to do.
            pub fn page(self) -> &'static str {
                match self { $(Code::$variant => include_str!(concat!("../../docs/errors/", $id, ".md")),)* }
            }

            /// The code with this id, such as `OT1001`, whatever its case.
            pub fn from_id(id: &str) -> Option<Self> { Self::ALL.iter().copied().find(|c| c.id().eq_ignore_ascii_case(id)) }

            /// How Otter reacts.
            pub fn reaction(self) -> Reaction { match self { $(Code::$variant => Reaction::$reaction,)* } }
        }
    };
}

codes! {
    // documents, configuration, command line
    DocumentInvalid = "OT1001", Stop, "The document is not valid", "Correct the field named in the message and put the document again.";
    NotSupportedYet = "OT1002", Stop, "This version does not have that feature yet", "Take the setting out of the document; the README lists what is not in yet.";
    SecretMissing = "OT1003", Stop, "A secret reference leads nowhere", "Set the environment variable or create the file that the reference names, for the process that needs it.";
    ConfigInvalid = "OT1004", Stop, "The configuration is not valid", "Correct the key named in the message in otter.toml, the OTTER_ variable or the flag.";
    DocumentTooLarge = "OT1005", Stop, "The document is larger than 700 kB", "Split it into several documents.";
    NotFound = "OT1006", Stop, "There is no document of that name", "Look at `otter get` for the names there are.";
    VersionConflict = "OT1007", Stop, "The document was changed by somebody else in between", "Get the document again, make the change on the new version, and put it.";
    FileUnreadable = "OT1008", Stop, "A file cannot be read", "Check the path and the permissions.";
    StillReferenced = "OT1009", Stop, "Other documents refer to this one", "Delete or change the documents that the message names first.";
    RoleFailed = "OT1010", Stop, "A role ended although nobody asked it to", "Start it again; report the message and the log, as this is an error of Otter's own.";
    RequestOpen = "OT1011", Stop, "A request is still open", "Wait for its answer, or withdraw it while no worker has taken it.";
    NotAuthenticated = "OT1020", Stop, "The request has no valid token", "Give a token of this installation: OTTER_TOKEN, `client.token`, or an Authorization header; `otter admin init` makes the first one.";
    TokenExists = "OT1021", Stop, "There is a token already", "Use a token you have; `otter admin init --again` makes another one of the role admin.";
    NotAllowed = "OT1022", Stop, "The token's role does not allow this", "Ask with a token of the role that the message names.";
    TooManyAttempts = "OT1023", Retry, "Too many requests with wrong tokens", "Correct the token and wait a minute.";
    RequestInvalid = "OT1024", Stop, "The request is not valid", "Correct what the message names; the API is described by /api/v1/openapi.json.";
    NoSuchRoute = "OT1025", Stop, "The API has no such path", "Look at /api/v1/openapi.json for the paths there are.";
    AdminUnreachable = "OT1026", Stop, "The admin API does not answer", "Check `client.url` (or OTTER_URL) and that `otter admin` or `otter run` is up; --direct works on ZooKeeper without it.";
    NotAdmin = "OT1027", Stop, "What answers is not Otter's admin API", "Check `client.url` (or OTTER_URL): it names the address of a process with the admin role.";
    MappingAmbiguous = "OT1031", PauseTable, "Two mappings that are equally specific match the same table", "Narrow one of them or exclude the table there, then put the pipeline again.";
    TargetShared = "OT1032", PauseTable, "Another source table goes to the same target table, or the mapping leads back to its source", "Give one of the tables another `to`, or exclude it from its mapping, then put the pipeline again.";
    StartRequired = "OT1033", PauseTable, "The table goes to another target than before and its mapping has no start", "Give the mapping a `start` that says where the new target begins, in the same put as the new `to`.";
    // ZooKeeper
    ZooKeeperUnavailable = "OT2001", Retry, "ZooKeeper does not answer", "Check `zookeeper.servers` and that the ensemble has a quorum.";
    LeaseLost = "OT2002", Retry, "The lease was lost", "Nothing: another worker leads the source, this one waits for its turn.";
    NodeInvalid = "OT2003", Stop, "A ZooKeeper node does not hold what Otter wrote there", "Compare the node with the formats in docs/formats; restore or delete it.";
    ZooKeeperRefused = "OT2004", Stop, "ZooKeeper refused a request", "The message holds ZooKeeper's answer; look at the access rights and quotas of the nodes under the chroot.";
    // source and capture
    SourceUnreachable = "OT3001", Retry, "The source server cannot be reached", "Check addresses, network, user and password of the source document.";
    SourceSetting = "OT3002", Stop, "A setting of the source server does not fit", "Set what the message names on the server, then put the source again or restart.";
    SourceGrant = "OT3003", Stop, "The user lacks a privilege on the source", "Grant what the message names.";
    BinlogPurged = "OT3004", Stop, "The binlog needed is no longer on the server", "Seed the targets again and give the source a new start.";
    BinlogCorrupt = "OT3005", Stop, "A binlog event is damaged", "Check the server's disk and network; read the binlog with mariadb-binlog at the position named.";
    EventUnsupported = "OT3006", Stop, "A binlog event of a kind that Otter does not read yet", "Exclude the table in the source's `tables`, or change the server setting that writes such events.";
    TypeUnsupported = "OT3007", Stop, "A column type that Otter does not carry yet", "Exclude the table in the source's `tables`.";
    ValueUnsupported = "OT3008", Stop, "A value that the typed field cannot carry", "Correct the row at the source or exclude the table in the source's `tables`.";
    DdlUnsupported = "OT3009", Stop, "A structure change of a followed table that Otter does not carry yet", "Exclude the table in the source's `tables`, or make the same change at the targets and start the source again behind it.";
    CheckpointMissing = "OT3010", Stop, "ZooKeeper knows a position but Kafka has no checkpoint", "Restore the checkpoints topic, or delete the source with --purge and seed again.";
    ImageIncomplete = "OT3011", Stop, "A row image lacks columns", "Set binlog_row_image=FULL at the source, in every session.";
    StatementLogged = "OT3012", Stop, "A change was logged as a statement, not as rows", "Set binlog_format=ROW at the source, in every session.";
    SourceDisconnected = "OT3013", Retry, "The binlog stream broke off", "Nothing: Otter connects again. If it repeats, look at the server's log and the network.";
    CaptureFailed = "OT3014", Retry, "A part of capture ended unexpectedly", "Otter starts it again; report the lines of the log before it.";
    ServerChanged = "OT3015", Stop, "The server is another than the one whose binlog file is the position", "Point the source at the server named, or reset the source to a position on this one.";
    HistoryLost = "OT3016", Stop, "The server no longer knows transactions that it gave out", "Find out whether its binlogs were reset or it was restored; seed the targets again and reset the source.";
    StartRefused = "OT3017", Stop, "The source cannot start there", "Choose a start within what the message says the server has.";
    // Kafka
    KafkaUnavailable = "OT4001", Retry, "Kafka does not answer", "Check `kafka.brokers` and the brokers' health.";
    ProducerFenced = "OT4002", Retry, "Another producer with this transactional.id took over", "Nothing: another worker leads the source.";
    TopicInvalid = "OT4003", Stop, "A topic is not as Otter made it", "The message says what differs; restore the topic or purge and start anew.";
    OffsetLost = "OT4004", PauseTable, "The offset needed is no longer in the topic", "Seed the target again and give the mapping a new start; raise the retention.";
    SchemaUnknown = "OT4005", Retry, "A schema id is not in the registry", "Check that capture and apply use the same registry; restore its schemas (the `/registry` nodes in ZooKeeper, or the external registry).";
    RecordInvalid = "OT4006", PauseTable, "A record is not an Otter event", "Find out who else writes to the topic; skip past the offset named.";
    TransactionTimeoutRefused = "OT4007", Stop, "The brokers do not allow the transaction timeout", "Raise transaction.max.timeout.ms on the brokers or lower `capture.oversize_timeout` in otter.toml.";
    RecordTooLarge = "OT4008", Stop, "A row is larger than the topic takes", "Raise `topics.max_message` of the source and message.max.bytes of the topic, or exclude the table in the source's `tables`.";
    KafkaDenied = "OT4009", Stop, "Kafka refuses the client an operation", "Give the principal of `kafka.client` the right named in the message.";
    TransactionFailed = "OT4010", Retry, "A Kafka transaction failed and is published again", "Nothing: Otter starts again from the last committed checkpoint. If it repeats, look at the brokers' logs.";
    CheckpointInvalid = "OT4011", Stop, "The checkpoint topic holds a record that is not a checkpoint", "Find out who else writes to the topic, or run the version that wrote the record.";
    ExactUnsupported = "OT4012", PauseTable, "An event carries values that this version cannot write", "Correct the row at the source and skip past the offset named, or run a version that honours `exact`.";
    SchemaIncompatible = "OT4013", Stop, "The registry holds a table's new schema to be incompatible", "Set the subject's compatibility to NONE in that registry, then put the source again.";
    RegistryUnavailable = "OT4014", Retry, "The schema registry does not answer", "Check `registry.url` in otter.toml and that the registry runs.";
    RegistryRefused = "OT4015", Stop, "The schema registry refused a request", "The message holds the registry's answer; check `registry.url` and the rights of its user.";
    PartitionsChanged = "OT4016", Stop, "A topic has another number of partitions than its rows were published over", "Give the number that it has now to `otter repartition`; a topic with fewer than before must be restored, or the source purged and seeded anew.";
    TopicReplaced = "OT4017", Stop, "A topic that rows were published to is gone, or another one has its name", "Find out who deleted it; what was not read yet is lost. `otter adopt` goes on with the topic there is, or a new one; then seed again, or reset the source.";
    // apply and target
    TargetUnreachable = "OT5001", Retry, "The target server cannot be reached", "Check address, network, user and password of the target document.";
    TargetGrant = "OT5002", PauseTable, "The user lacks a privilege on the target", "Grant what the message names.";
    TargetTable = "OT5003", PauseTable, "The target table does not fit the mapping", "Create or alter the table as the message says, or change the mapping's columns.";
    RowMissing = "OT5004", PauseTable, "A row to update or delete is not in the target", "Repair the row, or set `missing_row` of the mapping; then resume.";
    RowExists = "OT5005", PauseTable, "A row to insert is already in the target", "Repair the row, or set `existing_row` of the mapping; then resume.";
    TargetRefused = "OT5006", PauseTable, "The target refused a row", "The message holds the server's error; correct the table or the mapping, then resume.";
    LaneTaken = "OT5007", Retry, "Another worker owns the lane", "Nothing: the other worker goes on with it.";
    TargetBusy = "OT5008", Retry, "The target rolled the transaction back", "Nothing: Otter tries again. If it repeats, look for long transactions at the target.";
    LaneFailed = "OT5009", Retry, "A lane ended by itself", "Nothing: the pipeline starts its lanes again. Report it with the worker's log.";
    GenerationRaised = "OT5010", PauseTable, "Capture was reset backwards and events come a second time", "Run a version that replays: this one does not raise the code.";
    ReplayRefused = "OT5011", PauseTable, "Events cannot be written a second time", "Seed the table again and move its position behind the events; the message says what stands in the way.";
    PositionOutside = "OT5012", Stop, "The topic does not hold the position", "Choose a position from what the answer lists as available.";
    NotPaused = "OT5013", Stop, "The table is not paused", "Pause the pipeline, or the table's mapping, and ask again.";
    TableTruncated = "OT5014", PauseTable, "The source's table was truncated", "Decide about the target's rows: put `truncate: apply` (they go, too) or `truncate: ignore` (they stay) into the mapping; the message says what stands in the way.";
    LanesApart = "OT5015", PauseTable, "Joined lanes are further apart than a batch may be large", "Raise `join_batch` under `[apply]` in otter.toml and start the worker again.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_well_formed() {
        let mut ids: Vec<_> = Code::ALL.iter().map(|c| c.id()).collect();
        assert!(ids.iter().all(|id| id.len() == 6 && id.starts_with("OT")));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Code::ALL.len());
    }

    #[test]
    fn each_page_is_of_its_code() {
        for code in Code::ALL {
            let head = format!("# {}: {}\n\n**{}**: ", code.id(), code.title(), code.reaction().name());
            assert!(code.page().starts_with(&head), "docs/errors/{}.md does not begin with {head:?}", code.id());
            let (means, does) = code.page().split_once("\n## What to do\n\n").expect("a section What to do");
            assert!(means.contains("\n## What it means\n\n") && does.len() > 20, "{}", code.id());
            assert_eq!(Code::from_id(&code.id().to_lowercase()), Some(*code));
        }
    }

    #[test]
    fn there_are_no_pages_of_other_codes() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let pages: Vec<String> = names.filter(|name| name != "README.md").collect();
        assert_eq!(pages.len(), Code::ALL.len());
        assert!(pages.iter().all(|name| name.strip_suffix(".md").and_then(Code::from_id).is_some()));
    }
}
