//! `otter pause` and `otter resume`.

use admin::control::documents::StateSet;
use schemas::documents::State;

use super::Report;

impl Report for StateSet {
    fn text(&self) -> String {
        let state = match self.state {
            State::Running => "running",
            State::Paused => "paused",
        };
        let already = if self.changed { "" } else { " already" };
        let table = self.table.as_ref().map_or(String::new(), |table| format!(": {table}"));
        format!("pipeline {}{table} is {state}{already} (version {})\n", self.name, self.version)
    }
}
