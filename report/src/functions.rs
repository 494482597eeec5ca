//! Where in Python code threads hold a GIL and wait for it: which places there are, and the sums of each.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::header::unescape;
use crate::process::pairs;

/// Places of a session that are told apart.
const PLACES_LIMIT: usize = 1 << 16;

/// What may be kept of their texts, in bytes.
const TEXT_LIMIT: usize = 64 << 20;

/// Threads and places of a GIL whose sums are kept, and pairs of places. A thread at a place beyond them has no sums there; waits of pairs beyond
/// them are at no known place.
const SUMS_LIMIT: usize = 1 << 18;

/// A place in Python code: the line of a function at which it gives the GIL up.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The function's qualified name: `Metrics.collect`.
    pub function: String,
    /// Its file, as the process names it; of a long path the end.
    pub file: String,
    /// The line, from 1; 0 = not known.
    pub line: u32,
}

impl Place {
    /// `Metrics.collect (metrics.py:41)`.
    #[must_use]
    pub fn text(&self) -> String {
        let file = self.file.rsplit('/').next().unwrap_or(&self.file);
        if self.line == 0 {
            format!("{} ({file})", self.function)
        } else {
            format!("{} ({file}:{})", self.function, self.line)
        }
    }

    fn parse(facts: &str) -> Self {
        let mut place = Self::default();
        // The file comes last: scripts cannot escape the spaces in it.
        let (before, file) = match facts.split_once("file=") {
            Some((before, file)) => (before, Some(file)),
            None => (facts, None),
        };
        for (key, value) in pairs(before) {
            match key {
                "function" => place.function = unescape(value),
                "line" => place.line = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        place.file = file.map(unescape).unwrap_or_default();
        place
    }
}

/// A count, a sum and the longest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// How many.
    pub count: u64,
    /// How long together.
    pub total_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl Sums {
    pub(crate) fn add(&mut self, duration_ns: u64) {
        self.merge(Self {
            count: 1,
            total_ns: duration_ns,
            max_ns: duration_ns,
        });
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.total_ns = self.total_ns.saturating_add(other.total_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }
}

/// The number of a place within a session; 0 = not known.
pub(crate) type PlaceId = u32;

/// The places of a session.
#[derive(Debug, Default)]
pub(crate) struct Places {
    by_number: FxHashMap<(u32, u64), PlaceId>,
    /// In the order of their ids, from 1.
    entries: Vec<Place>,
    kept: usize,
}

impl Places {
    /// Takes what a place of a process is.
    pub(crate) fn add(&mut self, pid: u32, number: u64, facts: &str) {
        let id = self.id(pid, number);
        let place = Place::parse(facts);
        let length = place.function.len() + place.file.len();
        if id > 0 && self.kept + length <= TEXT_LIMIT {
            self.kept += length;
            self.entries[id as usize - 1] = place;
        }
    }

    /// The place with that number, whatever is known of it yet; 0 when there are too many.
    pub(crate) fn id(&mut self, pid: u32, number: u64) -> PlaceId {
        if number == 0 {
            return 0;
        }
        if let Some(&id) = self.by_number.get(&(pid, number)) {
            return id;
        }
        if self.entries.len() >= PLACES_LIMIT {
            return 0;
        }
        self.entries.push(Place::default());
        let id = PlaceId::try_from(self.entries.len()).unwrap_or(0);
        self.by_number.insert((pid, number), id);
        id
    }

    /// What is known of it.
    pub(crate) fn get(&self, id: PlaceId) -> Option<&Place> {
        let place = self.entries.get((id as usize).checked_sub(1)?)?;
        (!place.function.is_empty()).then_some(place)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// What threads did with a GIL at which places, while it comes. Threads are numbers among the GIL's.
#[derive(Debug, Default)]
pub(crate) struct PlaceSums {
    /// Holds and waits by thread and place.
    pub(crate) at: FxHashMap<(u32, PlaceId), (Sums, Sums)>,
    /// How long was waited at a place while somebody held the GIL who dropped it at another.
    pub(crate) pairs: FxHashMap<(PlaceId, PlaceId), u64>,
}

impl PlaceSums {
    pub(crate) fn hold(&mut self, thread: u32, place: PlaceId, duration_ns: u64) {
        if let Some((holds, _)) = self.sums(thread, place) {
            holds.add(duration_ns);
        }
    }

    pub(crate) fn wait(&mut self, thread: u32, place: PlaceId, duration_ns: u64) {
        if let Some((_, waits)) = self.sums(thread, place) {
            waits.add(duration_ns);
        }
    }

    pub(crate) fn blame(&mut self, waiter: PlaceId, holder: PlaceId, wait_ns: u64) {
        let is_room = self.pairs.len() < SUMS_LIMIT || self.pairs.contains_key(&(waiter, holder));
        let key = if is_room { (waiter, holder) } else { (0, 0) };
        let sum = self.pairs.entry(key).or_default();
        *sum = sum.saturating_add(wait_ns);
    }

    fn sums(&mut self, thread: u32, place: PlaceId) -> Option<&mut (Sums, Sums)> {
        let is_room = self.at.len() < SUMS_LIMIT || self.at.contains_key(&(thread, place));
        is_room.then(|| self.at.entry((thread, place)).or_default())
    }
}

/// What one thread did with a GIL at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtPlace {
    /// The thread: a place in [`Gil::threads`](crate::Gil::threads).
    pub thread: usize,
    /// Where: a place in [`Functions::places`]; `None` = not known.
    pub place: Option<usize>,
    /// Its holds that ended there.
    pub holds: Sums,
    /// Its waits that began there.
    pub waits: Sums,
}

/// How long was waited at one place for those who gave the GIL up at another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceBlame {
    /// Where the waiter was: a place in [`Functions::places`]; `None` = not known.
    pub waiter: Option<usize>,
    /// Where the holder gave it up: a place in [`Functions::places`]; `None` = not known.
    pub holder: Option<usize>,
    /// How long.
    pub wait_ns: u64,
}

/// Where in Python code a GIL was held and waited for, where that was recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Functions {
    /// The places, ordered by function, file and line.
    pub places: Vec<Place>,
    /// What each thread did where, ordered by thread and place.
    pub at: Vec<AtPlace>,
    /// Who waited for whom, by place, ordered by them.
    pub blame: Vec<PlaceBlame>,
}

/// One place, whichever thread was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlaceFigures {
    /// A place in [`Functions::places`]; `None` = not known.
    pub place: Option<usize>,
    /// Holds that ended there.
    pub holds: Sums,
    /// Waits that began there.
    pub waits: Sums,
    /// How long others waited meanwhile.
    pub made_wait_ns: u64,
}

impl Functions {
    /// Puts sums into the form in which they are kept; `threads` are the places of the numbers of threads.
    pub(crate) fn settle(sums: &PlaceSums, places: &Places, threads: &[usize]) -> Option<Self> {
        if sums.at.is_empty() || places.is_empty() {
            return None;
        }
        let ids = sums.at.keys().map(|&(_, id)| id);
        let ids = ids.chain(
            sums.pairs
                .keys()
                .flat_map(|&(waiter, holder)| [waiter, holder]),
        );
        let mut known: Vec<Place> = ids.filter_map(|id| places.get(id)).cloned().collect();
        known.sort_unstable();
        known.dedup();
        let find = |id| known.binary_search(places.get(id)?).ok();
        let mut functions = Self {
            at: sums
                .at
                .iter()
                .map(|(&(thread, id), &(holds, waits))| AtPlace {
                    thread: threads.get(thread as usize).copied().unwrap_or(0),
                    place: find(id),
                    holds,
                    waits,
                })
                .collect(),
            blame: sums
                .pairs
                .iter()
                .map(|(&(waiter, holder), &wait_ns)| PlaceBlame {
                    waiter: find(waiter),
                    holder: find(holder),
                    wait_ns,
                })
                .collect(),
            places: known,
        };
        functions.join();
        Some(functions)
    }

    /// Orders everything, and joins what is of the same thread and place.
    fn join(&mut self) {
        self.at.sort_by_key(|at| (at.thread, at.place));
        self.at.dedup_by(|next, kept| {
            let same = (next.thread, next.place) == (kept.thread, kept.place);
            if same {
                kept.holds.merge(next.holds);
                kept.waits.merge(next.waits);
            }
            same
        });
        self.blame.sort_by_key(|blame| (blame.waiter, blame.holder));
        self.blame.dedup_by(|next, kept| {
            let same = (next.waiter, next.holder) == (kept.waiter, kept.holder);
            if same {
                kept.wait_ns = kept.wait_ns.saturating_add(next.wait_ns);
            }
            same
        });
    }

    /// Whether every place that is named is there.
    pub(crate) fn is_sound(&self) -> bool {
        let named = self.at.iter().map(|at| at.place);
        let blame = self.blame.iter();
        let blame = blame.flat_map(|blame| [blame.waiter, blame.holder]);
        let count = self.places.len();
        named.chain(blame).flatten().all(|place| place < count)
    }

    /// Gives threads the places that they have in a merged list.
    pub(crate) fn move_threads(&mut self, threads: &[usize]) {
        for at in &mut self.at {
            at.thread = threads[at.thread];
        }
    }

    /// Adds what the same threads did elsewhere; both name them by their places in the merged list.
    pub(crate) fn merge(&mut self, other: Self) {
        let mut places = [&self.places[..], &other.places].concat();
        places.sort_unstable();
        places.dedup();
        for mut part in [std::mem::take(self), other] {
            let moved: Vec<Option<usize>> = part
                .places
                .iter()
                .map(|place| places.binary_search(place).ok())
                .collect();
            let to = |place: Option<usize>| place.and_then(|place| moved[place]);
            for at in &mut part.at {
                at.place = to(at.place);
            }
            for blame in &mut part.blame {
                (blame.waiter, blame.holder) = (to(blame.waiter), to(blame.holder));
            }
            self.at.append(&mut part.at);
            self.blame.append(&mut part.blame);
        }
        self.places = places;
        self.join();
    }

    /// `Metrics.collect (metrics.py:41)`, or that it is not known.
    #[must_use]
    pub fn text(&self, place: Option<usize>) -> String {
        let place = place.and_then(|place| self.places.get(place));
        place.map_or_else(|| UNKNOWN.to_owned(), Place::text)
    }

    /// The figures of each place, those with the most hold time and time that others waited first.
    #[must_use]
    pub fn by_place(&self) -> Vec<PlaceFigures> {
        let mut rows: Vec<PlaceFigures> = Vec::new();
        let mut at: FxHashMap<Option<usize>, usize> = FxHashMap::default();
        let mut row = |rows: &mut Vec<PlaceFigures>, place| {
            *at.entry(place).or_insert_with(|| {
                rows.push(PlaceFigures {
                    place,
                    holds: Sums::default(),
                    waits: Sums::default(),
                    made_wait_ns: 0,
                });
                rows.len() - 1
            })
        };
        for at in &self.at {
            let row = row(&mut rows, at.place);
            rows[row].holds.merge(at.holds);
            rows[row].waits.merge(at.waits);
        }
        for blame in &self.blame {
            let row = row(&mut rows, blame.holder);
            let made_wait_ns = &mut rows[row].made_wait_ns;
            *made_wait_ns = made_wait_ns.saturating_add(blame.wait_ns);
        }
        rows.sort_by_key(|row| {
            let weight = row.holds.total_ns.saturating_add(row.made_wait_ns);
            (std::cmp::Reverse(weight), row.place)
        });
        rows
    }

    /// The pairs of places, the longest wait first.
    #[must_use]
    pub fn pairs(&self) -> Vec<&PlaceBlame> {
        let mut pairs: Vec<_> = self.blame.iter().collect();
        pairs.sort_by_key(|blame| (std::cmp::Reverse(blame.wait_ns), blame.waiter, blame.holder));
        pairs
    }

    /// Where a thread held the GIL for most of its time there, and how long.
    #[must_use]
    pub fn mostly(&self, thread: usize) -> Option<(&Place, Sums)> {
        let at = self.at.iter().filter(|at| at.thread == thread);
        let most = at.max_by_key(|at| (at.holds.total_ns, std::cmp::Reverse(at.place)))?;
        Some((self.places.get(most.place?)?, most.holds))
    }
}

/// What a place is called of which nothing is known.
const UNKNOWN: &str = "(not known)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_escaped_or_not() {
        let place = Place::parse("line=41 function=Metrics.collect file=/srv/my app/metrics.py");
        assert_eq!(place.file, "/srv/my app/metrics.py");
        assert_eq!(place.text(), "Metrics.collect (metrics.py:41)");
        let place = Place::parse("line=x function=a%20b file=/srv/my%20app/b.py");
        assert_eq!(place.file, "/srv/my app/b.py");
        assert_eq!(place.text(), "a b (b.py)");
        assert_eq!(Place::parse(""), Place::default());
    }

    #[test]
    fn a_place_may_be_used_before_it_is_known() {
        let mut places = Places::default();
        let id = places.id(10, 7);
        assert_eq!(places.get(id), None);
        places.add(10, 7, "line=1 function=f file=a.py");
        places.add(11, 7, "line=2 function=g file=a.py");
        assert_eq!(places.get(id).map(|place| place.line), Some(1));
        assert_ne!(places.id(11, 7), id);
        assert_eq!(places.id(10, 0), 0);
        assert_eq!(places.get(0), None);
    }

    #[test]
    fn merged_places_stay_what_they_are() {
        let one = |function: &str, wait_ns| Functions {
            places: vec![Place {
                function: function.to_owned(),
                ..Place::default()
            }],
            at: vec![AtPlace {
                thread: 0,
                place: Some(0),
                holds: Sums {
                    count: 1,
                    total_ns: 5,
                    max_ns: 5,
                },
                waits: Sums::default(),
            }],
            blame: vec![PlaceBlame {
                waiter: None,
                holder: Some(0),
                wait_ns,
            }],
        };
        let mut all = one("b", 1);
        all.merge(one("a", 2));
        all.merge(one("b", 3));
        let names: Vec<_> = all.places.iter().map(|place| &place.function).collect();
        assert_eq!(names, ["a", "b"]);
        let waits: Vec<_> = all.blame.iter().map(|blame| blame.wait_ns).collect();
        assert_eq!(waits, [2, 4]);
        assert_eq!(all.at[1].holds.count, 2);
        assert_eq!(all.by_place()[0].place, Some(1));
    }
}
