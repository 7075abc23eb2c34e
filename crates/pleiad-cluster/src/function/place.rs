//! Functions named by their place in the program.
//!
//! A worker is the client's own executable, so a function can be named by the distance of a
//! constant [`Entry`] from a fixed static of the program: the same number at both ends, wherever
//! the loader puts the program. The receiver believes nothing: before it reads the pointer in an
//! entry it checks that the entry lies in a part of the program that nobody can write to, that it
//! is aligned, and that it begins with the mark of its kind. A forged number is an error, never a
//! jump.

#![expect(unsafe_code, reason = "reads a checked address and the loader's list of segments")]

use std::any::{Any, type_name};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::context::JobContext;
use crate::worker::Fault;

/// Calls a job function with its serialised arguments; gives its serialised result.
pub(crate) type JobCall = fn(&[u8], &JobContext) -> Result<Vec<u8>, Fault>;
/// Makes the data of a worker.
pub(crate) type SetupCall = fn(&[u8]) -> Result<Arc<dyn Any + Send + Sync>, String>;
/// Says farewell to the data of a worker.
pub(crate) type CleanupCall = fn(&(dyn Any + Send + Sync));

/// What stands at a place.
#[repr(C, align(16))]
pub(crate) struct Entry<C> {
    mark: [u8; 16],
    name: fn() -> &'static str,
    call: C,
}

/// A kind of call: each has its own mark, so that one is never taken for another.
pub(crate) trait Call: Copy + 'static {
    const MARK: [u8; 16];
}

impl Call for JobCall {
    const MARK: [u8; 16] = *b"pleiad: a job   ";
}

impl Call for SetupCall {
    const MARK: [u8; 16] = *b"pleiad: a setup ";
}

impl Call for CleanupCall {
    const MARK: [u8; 16] = *b"pleiad: a clean ";
}

impl<C: Call> Entry<C> {
    pub(crate) const fn new<F>(call: C) -> Self {
        Self { mark: C::MARK, name: type_name::<F>, call }
    }
}

/// Where a function stands in this program: valid in every process of the same executable.
pub(crate) struct Place<C> {
    distance: i64,
    call: PhantomData<C>,
}

impl<C> Clone for Place<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Place<C> {}

impl<C> fmt::Debug for Place<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "place {:+}", self.distance)
    }
}

/// Nothing of the kind stands at that place in this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlaceError {
    distance: i64,
    why: &'static str,
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { distance, why } = self;
        write!(f, "no function at place {distance:+} of this program: {why}")
    }
}

impl std::error::Error for PlaceError {}

impl<C: Call> Place<C> {
    /// The place of an entry of this program.
    pub(crate) fn of(entry: &'static Entry<C>) -> Self {
        let address = std::ptr::from_ref(entry) as i64;
        Self { distance: address.wrapping_sub(anchor()), call: PhantomData }
    }

    pub(crate) fn from_distance(distance: i64) -> Self {
        Self { distance, call: PhantomData }
    }

    pub(crate) fn distance(self) -> i64 {
        self.distance
    }

    /// What stands there: the function to call, and its name.
    ///
    /// # Errors
    ///
    /// If no entry of this kind stands there.
    pub(crate) fn find(self) -> Result<(C, &'static str), PlaceError> {
        let error = |why| PlaceError { distance: self.distance, why };
        let address = anchor().wrapping_add(self.distance) as usize;
        let end = address.checked_add(size_of::<Entry<C>>()).ok_or(error("out of range"))?;
        if !constant_parts().iter().any(|part| part.start <= address && end <= part.end) {
            return Err(error("not among its constants"));
        }
        if !address.is_multiple_of(align_of::<Entry<C>>()) {
            return Err(error("not aligned"));
        }
        // SAFETY: the 16 bytes lie within a mapped part of this program that is never written.
        let mark = unsafe { std::ptr::read(address as *const [u8; 16]) };
        if mark != C::MARK {
            return Err(error("no entry of that kind"));
        }
        // SAFETY: as above, for the whole entry. An aligned constant of this program that begins
        // with this mark is an `Entry<C>`: the marks occur nowhere else as aligned constants but
        // in `Call::MARK` itself, which the program never needs to store apart from an entry; and
        // both pointers are set where an entry is.
        let entry = unsafe { &*(address as *const Entry<C>) };
        Ok((entry.call, (entry.name)()))
    }
}

/// The fixed point from which distances count.
static ANCHOR: Entry<JobCall> = Entry { mark: [0; 16], name: || "", call: |_, _| Ok(Vec::new()) };

fn anchor() -> i64 {
    &raw const ANCHOR as i64
}

/// The address ranges of this program's constants, those that need relocation included.
fn constant_parts() -> &'static [Range<usize>] {
    static PARTS: OnceLock<Vec<Range<usize>>> = OnceLock::new();
    PARTS.get_or_init(find_constant_parts)
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn find_constant_parts() -> Vec<Range<usize>> {
    use std::ffi::{c_int, c_void};

    unsafe extern "C" fn visit(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        found: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader gives a valid description; `found` is the vector given below.
        let (info, found) = unsafe { (&*info, &mut *found.cast::<Vec<Range<usize>>>()) };
        // SAFETY: the loader gives `dlpi_phnum` program headers.
        let headers =
            unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let range = |h: &libc::Elf64_Phdr| {
            let start = (info.dlpi_addr as usize).wrapping_add(h.p_vaddr as usize);
            start..start.wrapping_add(h.p_memsz as usize)
        };
        let loaded = |h: &&libc::Elf64_Phdr| h.p_type == libc::PT_LOAD;
        let anchor = anchor() as usize;
        if !headers.iter().filter(loaded).any(|h| range(h).contains(&anchor)) {
            return 0;
        }
        let writable = |h: &libc::Elf64_Phdr| h.p_flags & libc::PF_W != 0;
        let readable = |h: &libc::Elf64_Phdr| h.p_flags & libc::PF_R != 0;
        let relro = |h: &&libc::Elf64_Phdr| h.p_type == libc::PT_GNU_RELRO;
        // A program linked without relro keeps its relocated constants in a writable segment.
        let no_relro = !headers.iter().any(|h| relro(&h));
        found.extend(
            headers
                .iter()
                .filter(|h| relro(h) || (loaded(h) && readable(h) && (!writable(h) || no_relro)))
                .map(range),
        );
        1
    }

    let mut found: Vec<Range<usize>> = Vec::new();
    // SAFETY: `visit` has the type asked for and does not unwind; `found` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut found).cast()) };
    found
}

/// Elsewhere no list of segments is read yet: every place is refused, so that function jobs fail
/// with an error instead of trusting an unchecked number.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn find_constant_parts() -> Vec<Range<usize>> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &Entry<JobCall> = &Entry::new::<u8>(|args, _| Ok(args.to_vec()));
    const SETUP: &Entry<SetupCall> = &Entry::new::<u16>(|_| Ok(Arc::new(())));

    #[test]
    fn an_entry_is_found_at_its_place() {
        let place = Place::of(ENTRY);
        let there = Place::<JobCall>::from_distance(place.distance());
        assert_eq!(there.find().unwrap().1, "u8");
    }

    #[test]
    fn an_entry_of_another_kind_is_refused() {
        let setup = Place::of(SETUP).distance();
        let error = Place::<JobCall>::from_distance(setup).find().unwrap_err();
        assert_eq!(error.why, "no entry of that kind");
    }

    /// Every number near the real one, and far ones, and the ends of the range.
    #[test]
    fn forged_numbers_are_errors() {
        let real = Place::of(ENTRY).distance();
        let near = (-5000..5000).filter(|d| *d != 0).map(|d| real.wrapping_add(d));
        let far = [0, 1, -1, i64::MAX, i64::MIN, 1 << 40, -(1 << 40), -anchor(), -anchor() - 1];
        for distance in near.chain(far) {
            match Place::<JobCall>::from_distance(distance).find() {
                Err(_) => {}
                // Another real entry of this test program.
                Ok((_, name)) => assert!(!name.is_empty()),
            }
        }
    }

    #[test]
    fn an_entry_that_somebody_could_have_written_is_refused() {
        let forged = Box::new(Entry::<JobCall>::new::<u32>(|_, _| Ok(Vec::new())));
        let distance = (&raw const *forged as i64).wrapping_sub(anchor());
        let error = Place::<JobCall>::from_distance(distance).find().unwrap_err();
        assert_eq!(error.why, "not among its constants");
    }
}
