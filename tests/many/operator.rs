//! An operator who is busy while processes die: pauses and resumes tables, takes mappings out and puts them back, sets
//! tables back to be written again, gives topics more partitions, sets capture back.
//!
//! Every command is run as a person would, by the command line, and must be answered; which answers are right is known
//! of each. Whatever was paused or taken out is back when the next thing is done.

use super::case::Case;
use crate::harness::{Result, Site, bail, ensure, wait_for};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use schemas::gtid::GtidPosition;
use schemas::moment::Moment;
use serde_json::Value;
use std::time::Duration;

/// Within this time capture says where it is, although it may have been killed a moment ago.
const SOON: Duration = Duration::from_secs(30);
/// The most partitions that a topic is given.
const MOST_PARTITIONS: u32 = 12;

/// A place in the source that was passed once.
#[derive(Debug)]
struct Mark {
    gtid: String,
    moment: Moment,
}

/// Who does all this.
#[derive(Debug)]
pub(super) struct Operator<'c> {
    site: &'c Site,
    case: &'c Case,
    random: StdRng,
    /// How many partitions the topic of each table has.
    partitions: Vec<u32>,
    marks: Vec<Mark>,
    /// How often capture was set back.
    generation: i32,
}

impl<'c> Operator<'c> {
    /// One who knows the beginning.
    pub(super) async fn new(site: &'c Site, case: &'c Case, random: StdRng) -> Result<Self> {
        let partitions = case.tables.iter().map(|table| table.partitions).collect();
        let mut operator = Self { site, case, random, partitions, marks: Vec::new(), generation: 0 };
        operator.mark().await?;
        Ok(operator)
    }

    async fn mark(&mut self) -> Result<()> {
        let gtid = self.site.source().await?.gtid().await?;
        self.marks.push(Mark { gtid, moment: Moment::now() });
        Ok(())
    }

    /// So many acts, one after another; what they were.
    pub(super) async fn work(mut self, acts: u32) -> Result<String> {
        let mut told = Vec::new();
        for _ in 0..acts {
            self.pass(0.1..1.0).await;
            let act = self.act().await?;
            println!("    {act}");
            told.push(act);
            self.mark().await?;
        }
        Ok(told.join(", "))
    }

    /// The place where time passes without a condition: people do what they do whenever they do it.
    async fn pass(&mut self, seconds: std::ops::Range<f64>) {
        tokio::time::sleep(Duration::from_secs_f64(self.random.random_range(seconds))).await;
    }

    async fn act(&mut self) -> Result<String> {
        let at = self.random.random_range(0..self.case.tables.len());
        match self.random.random_range(0..12) {
            0..3 => self.repartition(at).await,
            3..6 => self.replay(at).await,
            6..8 => self.rest(at).await,
            8..10 => self.leave(at).await,
            10 if self.random.random_bool(0.3) => self.replay_while_running(at).await,
            _ if self.case.resets => self.reset().await,
            _ => self.replay(at).await,
        }
    }

    fn table(&self, at: usize) -> String {
        self.case.tables[at].at_source(&self.site.name)
    }

    /// Runs a command that asks something of a running role; the code of a refusal.
    async fn ask(&self, arguments: &[&str]) -> Result<std::result::Result<Value, String>> {
        let done = self.site.otter(&[arguments, &["-o", "json"]].concat()).await?;
        let answer = serde_json::from_str::<Value>(&done.stdout);
        match (done.code, answer) {
            (Some(0), Ok(answer)) => Ok(Ok(answer)),
            (Some(1), Ok(answer)) => match answer["outcome"]["code"].as_str() {
                Some(code) => Ok(Err(code.to_owned())),
                None => bail!("otter {arguments:?}: {done:?}"),
            },
            _ => bail!("otter {arguments:?}: {done:?}"),
        }
    }

    async fn run(&self, arguments: &[&str]) -> Result<()> {
        let done = self.site.otter(arguments).await?;
        ensure!(done.code == Some(0), "otter {arguments:?}: {done:?}");
        Ok(())
    }

    async fn repartition(&mut self, at: usize) -> Result<String> {
        let (table, has) = (self.table(at), self.partitions[at]);
        if has == MOST_PARTITIONS {
            return self.rest(at).await;
        }
        let to = self.random.random_range(has + 1..=MOST_PARTITIONS.min(has + 4));
        let count = to.to_string();
        match self.ask(&["repartition", &self.site.name, "--table", &table, "--partitions", &count]).await? {
            Ok(_) => {
                self.partitions[at] = to;
                Ok(format!("{table} over {to} partitions"))
            }
            // Nothing was ever written to it.
            Err(code) if code == "OT4003" => Ok(format!("{table} has no topic to repartition")),
            Err(code) => bail!("a repartition of {table} to {to} is refused: {code}"),
        }
    }

    /// Pauses a table, or all of them.
    async fn pause(&mut self, at: usize) -> Result<Option<String>> {
        let table = self.random.random_bool(0.7).then(|| self.table(at));
        self.state("pause", table.as_deref()).await?;
        Ok(table)
    }

    async fn state(&self, verb: &str, table: Option<&str>) -> Result<()> {
        let name = self.site.name.as_str();
        match table {
            Some(table) => self.run(&[verb, "pipeline", name, "--table", table]).await,
            None => self.run(&[verb, "pipeline", name]).await,
        }
    }

    async fn rest(&mut self, at: usize) -> Result<String> {
        let paused = self.pause(at).await?;
        self.pass(0.1..1.5).await;
        self.state("resume", paused.as_deref()).await?;
        Ok(format!("{} paused and resumed", paused.as_deref().unwrap_or("all")))
    }

    /// Takes a table's mapping out, with its family, and puts it back: it goes on where it was.
    async fn leave(&mut self, at: usize) -> Result<String> {
        let unit = self.case.unit(at);
        self.site.put(&[&self.case.pipeline(self.site, &unit)]).await?;
        self.pass(0.1..1.5).await;
        self.site.put(&[&self.case.pipeline(self.site, &[])]).await?;
        Ok(format!("{} out of the pipeline and in again", self.table(at)))
    }

    /// Where to set a table back to. One that cannot be written a second time only to its beginning: a lane that is not as far
    /// yet as another place would go forward, and what it skipped then could not be given to it any more.
    fn somewhere(&mut self, at: usize) -> String {
        let kinds = if self.case.tables[at].can_replay() { 4 } else { 2 };
        let kind = self.random.random_range(0..kinds);
        let Some(mark) = self.marks.choose(&mut self.random) else { return "earliest".to_owned() };
        match kind {
            0 => "earliest".to_owned(),
            1 => "offset=0".to_owned(),
            2 => format!("timestamp={}", mark.moment),
            _ => format!("gtid={}", mark.gtid),
        }
    }

    /// Sets a paused table back. Sometimes it is moved on first: what it skipped it must write as well.
    async fn replay(&mut self, at: usize) -> Result<String> {
        let paused = self.pause(at).await?;
        let mut to = self.somewhere(at);
        if self.random.random_bool(0.2) && self.case.tables[at].can_replay() {
            self.seek(at, "latest").await?;
            "earliest".clone_into(&mut to);
        }
        let told = self.seek(at, &to).await?;
        self.state("resume", paused.as_deref()).await?;
        Ok(told)
    }

    async fn seek(&self, at: usize, to: &str) -> Result<String> {
        let table = self.table(at);
        match self.ask(&["replay", "pipeline", &self.site.name, "--table", &table, "--to", to]).await? {
            Ok(answer) => {
                let lanes = answer["outcome"]["details"].as_array().map(Vec::as_slice).unwrap_or_default();
                let skips =
                    |lane: &Value| lane["from"].as_i64().unwrap_or_default() < lane["to"].as_i64().unwrap_or_default();
                if to != "latest" && lanes.iter().any(skips) {
                    // The lane was not as far yet, and must not lose what lies between.
                    ensure!(
                        self.case.tables[at].can_replay(),
                        "{table} skips what it cannot be given again: {lanes:?}"
                    );
                    return Box::pin(self.seek(at, "earliest")).await;
                }
                Ok(format!("{table} back to {to}"))
            }
            // Nothing was ever written to it.
            Err(code) if ["OT1006", "OT4003"].contains(&code.as_str()) => Ok(format!("{table} has no topic to replay")),
            Err(code) if code == "OT5011" && !self.case.tables[at].can_replay() => {
                Ok(format!("{table} cannot be replayed"))
            }
            Err(code) => bail!("{table} is not set back to {to}: {code}"),
        }
    }

    async fn replay_while_running(&mut self, at: usize) -> Result<String> {
        let (table, to) = (self.table(at), self.somewhere(at));
        match self.ask(&["replay", "pipeline", &self.site.name, "--table", &table, "--to", &to]).await? {
            Err(code) if code == "OT5013" => Ok(format!("{table} is not replayed while it runs")),
            answer => bail!("{table} runs and is replayed: {answer:?}"),
        }
    }

    /// Sets capture back: to its checkpoint, or to a place that it passed earlier.
    async fn reset(&mut self) -> Result<String> {
        let coordination = self.site.coordination().await?;
        let (name, generation) = (&self.site.name, self.generation);
        // What is remembered of before the last reset says nothing about where capture is now.
        let checkpoint = wait_for("the position of capture", SOON, async || {
            let at = coordination.read_position(name).await.map_err(|error| error.to_string())?;
            at.filter(|at| at.generation == generation).ok_or_else(|| format!("none of generation {generation}"))
        })
        .await?;
        coordination.close().await;
        let passed: Vec<&str> = self.marks.iter().map(|mark| mark.gtid.as_str()).collect();
        let passed: Vec<&str> = passed
            .into_iter()
            .filter(|gtid| gtid.parse::<GtidPosition>().is_ok_and(|gtid| gtid.is_subset(&checkpoint.gtid)))
            .collect();
        let to = match passed.choose(&mut self.random) {
            Some(passed) if self.random.random_bool(0.6) => (*passed).to_owned(),
            _ => checkpoint.gtid.to_string(),
        };
        match self.ask(&["reset", "source", name, "--to", &format!("gtid={to}")]).await? {
            Ok(_) => {
                self.generation += 1;
                Ok(format!("capture back to {to}"))
            }
            Err(code) => bail!("capture is not set back to {to}: {code}"),
        }
    }
}
