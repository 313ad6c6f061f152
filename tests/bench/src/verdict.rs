//! Whether what was promised holds.

use std::process::ExitCode;

/// Collects what holds and what does not, and prints each.
#[derive(Default)]
pub struct Verdict {
    broken: usize,
}

impl Verdict {
    /// A figure that must be at least that much.
    pub fn at_least(&mut self, what: &str, figure: f64, least: f64) {
        self.say(what, figure, "at least", least, figure >= least);
    }

    /// A figure that may be that much at most.
    pub fn at_most(&mut self, what: &str, figure: f64, most: f64) {
        self.say(what, figure, "at most", most, figure <= most);
    }

    fn say(&mut self, what: &str, figure: f64, bound: &str, limit: f64, holds: bool) {
        let holds_or_not = if holds { "holds" } else { "BROKEN" };
        println!("{holds_or_not:<7} {what}: {figure:.2}, {bound} {limit}");
        self.broken += usize::from(!holds);
    }

    /// Success if nothing is broken.
    pub fn code(&self) -> ExitCode {
        if self.broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
