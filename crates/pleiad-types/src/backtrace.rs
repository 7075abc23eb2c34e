/// The part of a printed backtrace that belongs to the code of a user: what is between the panic and
/// the first frame of `caller`, by which the user's code was called.
pub fn backtrace_of(whole: &str, caller: &str) -> String {
    let mut lines: Vec<&str> = whole.lines().collect();
    let is_frame_of = |line: &str, what: &str| {
        line.split_once(": ").is_some_and(|(number, name)| {
            number.trim().parse::<u32>().is_ok() && name.contains(what)
        })
    };
    if let Some(end) = lines.iter().position(|line| is_frame_of(line, caller))
        && end > 0
    {
        lines.truncate(end);
    }
    if let Some(last) = lines.iter().rposition(|line| is_frame_of(line, "core::panicking::")) {
        let begin = (last + 1..lines.len()).find(|&i| !lines[i].trim_start().starts_with("at "));
        lines.drain(..begin.unwrap_or(lines.len()));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtrace_is_cut_down_to_the_code_of_the_user() {
        let whole = "   0: std::backtrace::Backtrace::create\n             at /std.rs\n   \
                     1: core::panicking::panic_fmt\n             at /core.rs\n   \
                     2: mine::divide\n             at ./mine.rs:3\n   \
                     3: shop::function::call\n   4: main";
        let cut = "   2: mine::divide\n             at ./mine.rs:3";
        assert_eq!(backtrace_of(whole, "shop::function"), cut);
    }
}
