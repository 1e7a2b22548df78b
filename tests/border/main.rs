//! Every export of the header with wrong arguments: NULL for each pointer in turn, zero and huge numbers, dead, foreign
//! and made-up handles, misaligned places; and with a panic inside. None may crash, each failure must be a status that
//! says which argument, and outputs stay as they were. The calls are made from the header, so that an export that is
//! added later is called without a change here.
//!
//! The calls run in a child process: a crash is the failure of the function that was called last.

mod calls;

use calls::{Export, Header, Kind, Parameter};
use libloading::{Library, Symbol};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const INVALID_ARGUMENT: i64 = 1;
const PANIC: i64 = 18;
const BUFFER_TOO_SMALL: i64 = 20;

/// Exports that do not set the last error, because they read it or answer a constant.
const NO_LAST_ERROR: [&str; 7] = [
    "cw_last_error",
    "cw_last_error_advice",
    "cw_last_error_call",
    "cw_last_error_function",
    "cw_last_error_category",
    "cw_last_status",
    "cw_last_driver_code",
];

/// Parameters that errors call by the name that the documented method has for them.
const OTHER_NAMES: [(&str, &str, &str); 2] =
    [("cw_bridge_copy_to_gpu", "destination", "gpuPtr"), ("cw_bridge_copy_from_gpu", "source", "gpuPtr")];

/// Bytes of an argument's memory: more than the longest text, since lengths are claimed that are not there.
const ROOM: usize = 1 << 18;

/// An argument's memory: aligned, and with a pattern in it.
#[repr(C, align(64))]
struct Memory([u8; ROOM]);

struct Border {
    header: Header,
    library: Library,
    /// For files that exports read or write.
    folder: PathBuf,
    cache: HashMap<String, u64>,
    next: u32,
    calls: usize,
    masked: usize,
    failures: Vec<String>,
}

/// The words of one call and the memory behind them.
struct Arguments {
    words: Vec<u64>,
    memory: Vec<Option<Box<Memory>>>,
}

impl Border {
    fn new(folder: &Path) -> Border {
        let header = Header::read();
        let path = calls::library(&header, folder);
        // The wrappers find it by its SONAME, as it is there already; it is never unloaded.
        // SAFETY: the wrappers have no initialisers; Cogniware's are those of every program that uses it.
        let library = unsafe {
            std::mem::forget(Library::new(calls::shared_library()).expect("the library loads"));
            Library::new(path)
        };
        let library = library.expect("the wrappers load");
        Border {
            folder: folder.to_owned(),
            header,
            library,
            cache: HashMap::new(),
            next: 0,
            calls: 0,
            masked: 0,
            failures: Vec::new(),
        }
    }

    fn raw(&self, name: &str, words: &[u64]) -> i64 {
        // SAFETY: every wrapper has this type; the words are what its function takes, or the faults under test.
        unsafe {
            let f: Symbol<unsafe extern "C" fn(*const u64) -> i64> =
                self.library.get(format!("border_{name}").as_bytes()).expect("a wrapper");
            f(words.as_ptr())
        }
    }

    fn number(&self, name: &str) -> u64 {
        // SAFETY: a function without arguments that answers a word.
        unsafe {
            let f: Symbol<unsafe extern "C" fn() -> u64> =
                self.library.get(format!("border_{name}").as_bytes()).expect("a helper");
            f()
        }
    }

    fn last_error(&self) -> String {
        let mut text = vec![0u8; 4096];
        self.raw("cw_last_error", &[text.as_mut_ptr() as u64, text.len() as u64, 0]);
        let end = text.iter().position(|b| *b == 0).unwrap_or(0);
        String::from_utf8_lossy(&text[..end]).into_owned()
    }

    /// A living handle of this type, made by the first export that gives one; 0 when none does.
    fn handle(&mut self, kind: &str) -> u64 {
        if let Some(handle) = self.cache.get(kind) {
            return *handle;
        }
        let makes = |e: &&Export| {
            let gives = e.parameters.iter().any(|p| p.kind == Kind::HandleOut(kind.to_owned()));
            // Those that look for one find nothing yet.
            gives && !e.name.ends_with("_find") && !e.name.contains("_bridge_model")
        };
        // The kernel of the process before one of its own, which would have to be initialised.
        let makers: Vec<Export> = self.header.exports.iter().filter(makes).cloned().collect();
        // Against a type whose maker needs one of itself.
        self.cache.insert(kind.to_owned(), 0);
        for maker in makers {
            let arguments = self.baseline(&maker);
            if self.raw(&maker.name, &arguments.words) != 0 {
                continue;
            }
            let at = maker.parameters.iter().position(|p| p.kind == Kind::HandleOut(kind.to_owned()));
            let memory = arguments.memory[at.expect("it gives one")].as_ref().expect("a place");
            let handle = u64::from_ne_bytes(memory.0[..8].try_into().expect("8 bytes"));
            self.cache.insert(kind.to_owned(), handle);
            // A manager is of no use before that.
            if self.header.find(&format!("{kind}_initialize")).is_some() {
                self.raw(&format!("{kind}_initialize"), &[handle]);
            }
            return handle;
        }
        0
    }

    /// What a text argument may be.
    fn text(&mut self, function: &str, name: &str) -> Vec<u8> {
        let text = match name {
            "device" => "cpu".to_owned(),
            // A copy, since some exports write to their path.
            "path" => {
                let copy = self.folder.join("model.gguf");
                std::fs::copy(calls::root().join("models/cogniware-small.gguf"), &copy).expect("a copy");
                copy.display().to_string()
            }
            "id" | "llm" if function.ends_with("_open") || function.contains("schedule") => {
                self.next += 1;
                format!("border-{}", self.next)
            }
            "id" | "llm" => "border-1".to_owned(),
            _ => "x".to_owned(),
        };
        text.into_bytes()
    }

    /// Arguments with which the call may well succeed.
    fn baseline(&mut self, export: &Export) -> Arguments {
        let mut arguments = Arguments { words: Vec::new(), memory: Vec::new() };
        for p in &export.parameters {
            let mut memory = None;
            let mut place = |pattern: u8| {
                memory = Some(Box::new(Memory([pattern; ROOM])));
                memory.as_mut().expect("it was put there").0.as_mut_ptr() as u64
            };
            let word = match &p.kind {
                Kind::Handle(kind) => self.handle(kind),
                Kind::HandleOut(_) | Kind::Out(_) | Kind::Buffer => place(0xa5),
                Kind::In(_) => place(0),
                Kind::UserData => {
                    // Never the same twice, so that each is seen to come back once.
                    self.next += 1;
                    u64::from(self.next)
                }
                Kind::Drop => self.number("drop"),
                Kind::Function => self.number("function"),
                Kind::Float(4) => u64::from(1f32.to_bits()),
                Kind::Float(_) => 1f64.to_bits(),
                Kind::Integer => integer(p),
                Kind::Text => {
                    let text = self.text(&export.name, &p.name);
                    let at = place(0);
                    memory.as_mut().expect("a place").0[..text.len()].copy_from_slice(&text);
                    at
                }
                Kind::Struct(kind, _) => {
                    let at = place(0);
                    let size = self.number(&format!("size_{kind}"));
                    memory.as_mut().expect("a place").0[..8].copy_from_slice(&size.to_ne_bytes());
                    if export.name != format!("{kind}_default")
                        && self.header.find(&format!("{kind}_default")).is_some()
                    {
                        self.raw(&format!("{kind}_default"), &[at]);
                        if kind == "cw_generate_params" {
                            self.raw("prepare", &[at]);
                        }
                    }
                    at
                }
            };
            arguments.words.push(word);
            arguments.memory.push(memory);
        }
        arguments
    }

    /// One call; what must hold whatever the arguments were.
    fn call(&mut self, export: &Export, arguments: &Arguments, what: &str) -> (i64, String) {
        println!("calling {} {what}", export.name);
        let before: Vec<Option<[u8; ROOM]>> =
            arguments.memory.iter().map(|m| m.as_ref().map(|m| m.0)).collect();
        let status = self.raw(&export.name, &arguments.words);
        self.calls += 1;
        if !export.status {
            return (0, String::new());
        }
        let text = self.last_error();
        let failed = status != 0;
        let quiet = NO_LAST_ERROR.contains(&export.name.as_str());
        if failed && !quiet && !text.starts_with(&export.name) {
            self.fail(export, what, &format!("status {status}, but the last error is {text:?}"));
        }
        if failed && status != BUFFER_TOO_SMALL {
            for (i, p) in export.parameters.iter().enumerate() {
                if let (Some(was), Some(is)) = (&before[i], &arguments.memory[i])
                    && *was != is.0
                {
                    self.fail(export, what, &format!("status {status}, but `{}` was written to", p.name));
                }
            }
        }
        let word = |kind: Kind| {
            let at = export.parameters.iter().position(|p| p.kind == kind);
            at.map_or(0, |at| arguments.words[at])
        };
        let (user_data, times) = (word(Kind::UserData), self.raw("drops", &[word(Kind::UserData)]));
        // After a success it may have run already, or will.
        if word(Kind::Drop) != 0 && user_data != 0 && (times > 1 || failed && times != 1) {
            self.fail(export, what, &format!("status {status}, and drop ran {times} times"));
        }
        (status, text)
    }

    fn fail(&mut self, export: &Export, what: &str, why: &str) {
        self.failures.push(format!("{} {what}: {why}", export.name));
    }

    /// Everything that may be wrong with one argument, with words for it; true when it must be refused.
    fn faults(&mut self, p: &Parameter, function: &Export) -> Vec<(String, u64, bool)> {
        let name = &p.name;
        // The contract of the border lets nobody ask how much is needed.
        let may_be_null = function.comment.to_lowercase().contains("null")
            || function.name.ends_with("_free")
            || name == "needed";
        let null = (format!("{name}=NULL"), 0, !may_be_null);
        let mut faults = Vec::new();
        let mut add = |what: &str, word: u64, refused: bool| {
            faults.push((format!("{name}={what}"), word, refused));
        };
        match &p.kind {
            Kind::Handle(kind) => {
                add("made up", 0xdead_beef, true);
                add("an address", 0x7fff_dead_beec, true);
                add("all ones", u64::MAX, true);
                let mut map = 0u64;
                self.raw("cw_map_create", &[&raw mut map as u64]);
                if kind == "cw_map" {
                    self.raw("cw_map_free", &[map]);
                    add("freed", map, true);
                } else {
                    add("another type's", map, true);
                    let living = self.handle(kind);
                    if living != 0 {
                        add("of another generation", living ^ 1 << 40, true);
                        add("of another slot", living + 1000, true);
                    }
                }
                faults.push(null);
            }
            Kind::HandleOut(_) | Kind::Out(_) | Kind::Struct(..) | Kind::In(_) => {
                let wide = !matches!(p.kind, Kind::Out(1) | Kind::In(1));
                if wide {
                    add("misaligned", 1, true);
                }
                if matches!(p.kind, Kind::Struct(..)) && !function.name.ends_with("_default") {
                    add("struct_size 0", 2, true);
                }
                faults.push(null);
            }
            Kind::Text => {
                add("not UTF-8", 3, true);
                add("empty", 4, false);
                faults.push(null);
            }
            Kind::Buffer | Kind::Function => faults.push(null),
            Kind::Drop | Kind::UserData => add("NULL", 0, false),
            Kind::Integer => {
                for n in [0, u64::MAX, i64::MIN as u64, i64::MAX as u64, u64::from(u32::MAX), 1 << 31] {
                    add(&format!("{n:#x}"), n, false);
                }
            }
            Kind::Float(4) => {
                for n in [0.0, f32::NAN, f32::INFINITY, -1.0, f32::MIN_POSITIVE] {
                    add(&n.to_string(), u64::from(n.to_bits()), false);
                }
            }
            Kind::Float(_) => {
                for n in [0.0, f64::NAN, f64::INFINITY, -1.0, f64::MIN_POSITIVE] {
                    add(&n.to_string(), n.to_bits(), false);
                }
            }
        }
        faults
    }

    fn each_fault(&mut self, export: &Export) {
        let arguments = self.baseline(export);
        let (_, plain) = self.call(export, &arguments, "as it should be");
        for (at, p) in export.parameters.iter().enumerate() {
            for (what, word, refused) in self.faults(p, export) {
                self.renew(export);
                let mut arguments = self.baseline(export);
                let memory = arguments.memory[at].as_mut();
                match (&p.kind, word, memory) {
                    (Kind::Text, 3, Some(m)) => m.0[..2].copy_from_slice(b"\xff\0"),
                    (Kind::Text, 4, Some(m)) => m.0[0] = 0,
                    (Kind::Struct(..), 2, Some(m)) => m.0[..8].fill(0),
                    (Kind::Handle(_) | Kind::Integer | Kind::Float(_), ..) | (_, 0, _) => {
                        arguments.words[at] = word;
                    }
                    _ => arguments.words[at] += word,
                }
                let (status, text) = self.call(export, &arguments, &what);
                if !refused || !export.status {
                    continue;
                }
                let other = OTHER_NAMES.iter().find(|(f, n, _)| *f == export.name && *n == p.name);
                let named = text.contains(&format!("`{}`", other.map_or(p.name.as_str(), |(.., o)| o)));
                let quiet = NO_LAST_ERROR.contains(&export.name.as_str());
                match status {
                    0 => self.fail(export, &what, "was accepted"),
                    INVALID_ARGUMENT if named || quiet => {}
                    // Refused for what it is refused for anyway: says nothing about this argument.
                    _ if text == plain || !plain.is_empty() => self.masked += 1,
                    _ => self.fail(export, &what, &format!("status {status}, text {text:?}")),
                }
            }
        }
    }

    /// After a function that ends something nothing made before is relied on.
    fn renew(&mut self, export: &Export) {
        let ends = ["_free", "_close", "_shutdown", "_destroy", "_unregister", "_deallocate"];
        if ends.iter().any(|end| export.name.ends_with(end)) {
            self.cache.clear();
        }
    }
}

/// What an integer may well be.
fn integer(p: &Parameter) -> u64 {
    match p.name.as_str() {
        "bytes" | "size" => 256,
        "length" | "capacity" | "count" => 8,
        "weight" => 1,
        "priority" => 2,
        "cores" | "processors" => 1,
        _ => 0,
    }
}

const CHILD: &str = "COGNIWARE_BORDER_CHILD";

/// Runs the child named `mode` with these variables; its output.
fn child(mode: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "the_child", "--nocapture", "--test-threads=1"]).env(CHILD, mode);
    command.envs(variables.iter().copied()).env("COGNIWARE_DEVICE", "cpu").env_remove("RUST_BACKTRACE");
    let done = command.output().expect("the child runs");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let last = text.lines().rev().find(|l| l.starts_with("calling ")).unwrap_or("nothing yet").to_owned();
    let errors = String::from_utf8_lossy(&done.stderr);
    let tail: Vec<&str> = errors.lines().rev().take(60).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    assert!(done.status.success(), "the child ended with {} while {last}\n{}", done.status, tail.join("\n"));
    text
}

#[test]
fn wrong_arguments_are_errors_that_name_them() {
    let text = child("faults", &[]);
    println!("{}", text.lines().filter(|l| l.starts_with("border:")).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_panic_is_a_status_at_every_export() {
    child("panic", &[("COGNIWARE_TEST_PANIC", "*")]);
}

/// The work of the child processes; nothing when run with the other tests.
#[test]
fn the_child() {
    let Ok(mode) = std::env::var(CHILD) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    // Nothing that is installed goes into the system.
    let root = folder.path().join("root");
    std::fs::create_dir(&root).expect("a folder");
    // SAFETY: nothing else runs in this process yet.
    unsafe { std::env::set_var("COGNIWARE_INSTALL_ROOT", &root) };
    let mut border = Border::new(folder.path());
    let mut exports = border.header.exports.clone();
    // What ends the process-wide managers last.
    exports.sort_by_key(|e| e.name.contains("shutdown"));
    for export in &exports {
        // SAFETY: a call that hangs ends the process, and its name was printed.
        unsafe { libc::alarm(100) };
        match mode.as_str() {
            "panic" => {
                let arguments = border.baseline(export);
                let (status, text) = border.call(export, &arguments, "panicking");
                let quiet = NO_LAST_ERROR.contains(&export.name.as_str());
                if export.status && !quiet && (status != PANIC || !text.contains("planted")) {
                    border.fail(export, "panicking", &format!("status {status}, text {text:?}"));
                }
            }
            _ => border.each_fault(export),
        }
        border.renew(export);
    }
    println!(
        "border: {} exports, {} calls, {} faults not reached because the call fails without them too",
        exports.len(),
        border.calls,
        border.masked
    );
    assert!(
        border.failures.is_empty(),
        "{} failures:\n{}",
        border.failures.len(),
        border.failures.join("\n")
    );
}
