//! How far something is, on a terminal.

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error, which is hidden if that is no terminal or it is not wanted.
pub(super) fn bar(is_wanted: bool, steps: Option<u64>, template: &str) -> ProgressBar {
    if !is_wanted || !Term::stderr().is_term() {
        return ProgressBar::with_draw_target(steps, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::with_draw_target(steps, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
