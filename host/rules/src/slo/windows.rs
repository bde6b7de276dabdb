//! Windows and burn rates of the alerts.

use std::time::Duration;

const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 60 * MINUTE_S;
const DAY_S: u64 = 24 * HOUR_S;

/// The window that the table is for.
const TABLE_WINDOW_S: u64 = 30 * DAY_S;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burn {
    /// How many times faster than the objective allows.
    pub rate: f64,
    /// The label `severity`.
    pub severity: &'static str,
    long_s: u64,
    short_s: u64,
}

/// The table.
pub const BURNS: [Burn; 4] = [
    Burn { rate: 14.4, severity: "page", long_s: HOUR_S, short_s: 5 * MINUTE_S },
    Burn { rate: 6.0, severity: "page", long_s: 6 * HOUR_S, short_s: 30 * MINUTE_S },
    Burn { rate: 3.0, severity: "ticket", long_s: DAY_S, short_s: 2 * HOUR_S },
    Burn { rate: 1.0, severity: "ticket", long_s: 3 * DAY_S, short_s: 6 * HOUR_S },
];

/// The table's windows, scaled to the window of an SLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    whole: Duration,
}

impl Windows {
    /// Those of an SLO over `whole`.
    pub fn of(whole: Duration) -> Self {
        Self { whole }
    }

    fn scaled(self, seconds: u64) -> Duration {
        let ms = self.whole.as_millis() * u128::from(seconds) / u128::from(TABLE_WINDOW_S);
        Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
    }

    /// The long window of a row.
    pub fn long(self, burn: &Burn) -> Duration {
        self.scaled(burn.long_s)
    }

    /// The short window of a row.
    pub fn short(self, burn: &Burn) -> Duration {
        self.scaled(burn.short_s)
    }

    /// The shortest of all: 5 m for 30 days.
    pub fn shortest(self) -> Duration {
        self.scaled(5 * MINUTE_S)
    }

    /// How often an SLO is evaluated that does not say it: a fifth of the shortest window, 1 m for 30 days.
    pub fn interval(self) -> Duration {
        self.scaled(MINUTE_S)
    }

    /// The windows for which the indicator is asked itself; longer ones are means of what was recorded, for nobody wants
    /// to read 30 days of raw samples every minute.
    pub(super) fn is_asked(self, window: Duration) -> bool {
        window <= self.scaled(6 * HOUR_S)
    }

    /// All of them, the SLO's own too, from short to long.
    pub fn all(self) -> Vec<Duration> {
        let mut all: Vec<Duration> = BURNS.iter().flat_map(|b| [self.long(b), self.short(b)]).collect();
        all.push(self.whole);
        all.sort();
        all.dedup();
        all
    }
}

impl Burn {
    /// Can an error ratio be so high? With a budget of 10 %, nothing burns it 14.4 times too fast.
    pub fn is_possible(&self, budget: f64) -> bool {
        self.rate * budget < 1.0
    }
}
