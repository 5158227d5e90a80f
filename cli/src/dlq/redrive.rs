//! A redrive sends dead letters to their consumers once more: [`plan`] (which, in what order), [`forecast`] (what is known
//! of it) → [`apply`] (a canary, then at a [`pace`], by [`send`] and [`watch`]) → [`undo`]; [`history`] shows all of them
//! (docs/adr/0027).

mod applied;
pub mod apply;
pub mod forecast;
pub mod history;
pub mod pace;
pub mod plan;
mod progress;
mod repark;
mod send;
pub mod undo;
mod watch;
