//! Moving lanes back that belong together: to one place in the source.
//!
//! The lanes of a topic that are asked for go to their first record from the same position on, that of the first which
//! goes back. Each for itself would find a place of its own, and then a TRUNCATE could lie behind one and in front of
//! another: it would be passed as done, with the rows that it took away written again.
//!
//! Where rows may conflict, all lanes of the topic go. A replay removes whatever holds a value of a row that comes, and is right in the end because what it removed comes
//! back later in the same order. Over several partitions that order is the merged one. So if one lane goes back, every
//! lane goes to its first record from the same position on, and they are joined until all are where they were.

use schemas::decode::EventDecoder;
use schemas::documents::ForeignKeys;
use schemas::{Code, Error, names};

use super::{Found, Refusal, Seeks, Where, World};
use crate::config::{table_by_schema, table_of};
use crate::offsets::{connect, parts as topic_parts};
use crate::target::mapping::{Rules, TableMapping};
use crate::target::seek::Position;

impl Seeks {
    /// Adds the lanes that have to go back with those that do.
    pub(super) async fn together(
        &self,
        world: &World,
        rows: &[Position],
        mut found: Vec<Found>,
    ) -> Result<Vec<Found>, Refusal> {
        let mut topics: Vec<String> = found.iter().filter(|f| f.goes_back()).map(|f| f.part.topic.clone()).collect();
        topics.dedup();
        for topic in topics {
            let parts = topic_parts(&self.inquiry, &topic).await?;
            let conflicts = self.may_conflict(world, &topic, parts.len()).await?;
            if !conflicts && found.iter().filter(|f| f.part.topic == topic).count() < 2 {
                continue;
            }
            let back = found.iter().filter(|f| f.part.topic == topic && f.goes_back());
            let Some(first) = back.filter_map(Found::position).min() else { continue };
            let until = rows.iter().filter(|row| row.topic == topic).map(|row| row.ordinal).max();
            for part in parts {
                let row = rows.iter().find(|row| row.topic == topic && row.partition == part.partition);
                let chosen = found.iter().position(|f| f.part == part);
                if chosen.is_none() && !(conflicts && row.is_some()) {
                    continue;
                }
                let mut with = self.resolve(&part, row, Where::From(first)).await?;
                with.joined_until = until.filter(|_| conflicts);
                match chosen {
                    Some(at) => found[at] = with,
                    None if with.goes_back() => found.push(with),
                    None => {}
                }
            }
        }
        Ok(found)
    }

    /// Whether rows of different lanes of the topic may conflict.
    async fn may_conflict(&self, world: &World, topic: &str, partitions: usize) -> Result<bool, Refusal> {
        let schemas = self.coordination.schemas();
        let table = match table_of(world.source.prefix(), topic) {
            Some(table) => Some(table),
            None => table_by_schema(&schemas, topic).await?,
        };
        let Some((table, mapping)) = table.and_then(|t| world.pipeline.mapping_for(&t).map(|m| (t, m))) else {
            return Ok(false);
        };
        if world.pipeline.settings_for(mapping).foreign_keys == ForeignKeys::Ordered {
            let message = format!(
                "{table} keeps its order with other tables under foreign keys, and cannot be written a second time; set \
                 foreign_keys: off while it replays (rows that a cascade took away at the source then stay), or empty the tables \
                 and begin anew"
            );
            return Err(Error::new(Code::ReplayRefused, message).into());
        }
        if partitions < 2 {
            return Ok(false);
        }
        let Some(text) = schemas.newest(&names::value_subject(topic)).await? else { return Ok(false) };
        let decoder = EventDecoder::compile(&text)?;
        let mut session = connect(&world.target).await?;
        let mut conflicts = false;
        let constants = mapping.columns.constants(world.pipeline.source.as_str(), &table);
        for (to, merges) in mapping.to.of(&table).into_iter().zip(mapping.merges()) {
            let rules = Rules { columns: mapping.columns.clone(), constants: constants.clone(), merges };
            let resolved = TableMapping::resolve(&mut session, decoder.columns(), rules, &to).await;
            conflicts |= resolved.map_err(|failure| failure.error)?.lanes_may_conflict();
        }
        session.close().await;
        Ok(conflicts)
    }
}
