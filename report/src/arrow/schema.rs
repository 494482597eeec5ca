//! The one schema of traces as Arrow: which columns there are, the words of events, and the header as metadata.

use std::collections::HashMap;

use arrow_ipc::{Endianness, Field as StoredField, Schema as StoredSchema, Type};
use arrow_schema::{DataType, Field, Schema};

use crate::arrow::reader::ArrowTraceError;
use crate::header::{Header, VERSION};

/// What every Arrow IPC stream begins with.
pub(crate) const STREAM_MAGIC: [u8; 4] = [0xff; 4];

/// What an Arrow IPC *file* begins with, which is another format.
pub(crate) const FILE_MAGIC: &[u8] = b"ARROW1";

/// The key of the metadata that says that a stream is a trace, and of which version.
const KEY: &str = "gil-trace";

/// What an event is, in the order of the dictionary that writers use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Word {
    #[default]
    Drop,
    Claim,
    Acquired,
    Request,
    Thread,
    Total,
    Spread,
    Lost,
    End,
    Process,
    Gil,
    Stack,
    Frames,
    Module,
    Mode,
    StwBegin,
    StwStopped,
    StwEnd,
    Mutex,
    Location,
    At,
    SpanBegin,
    SpanEnd,
    SpanSwitch,
}

impl Word {
    pub(crate) const ALL: [Self; 24] = [
        Self::Drop,
        Self::Claim,
        Self::Acquired,
        Self::Request,
        Self::Thread,
        Self::Total,
        Self::Spread,
        Self::Lost,
        Self::End,
        Self::Process,
        Self::Gil,
        Self::Stack,
        Self::Frames,
        Self::Module,
        Self::Mode,
        Self::StwBegin,
        Self::StwStopped,
        Self::StwEnd,
        Self::Mutex,
        Self::Location,
        Self::At,
        Self::SpanBegin,
        Self::SpanEnd,
        Self::SpanSwitch,
    ];

    /// The word of the text form.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Claim => "claim",
            Self::Acquired => "acquired",
            Self::Request => "request",
            Self::Thread => "thread",
            Self::Total => "total",
            Self::Spread => "spread",
            Self::Lost => "lost",
            Self::End => "end",
            Self::Process => "process",
            Self::Gil => "gil",
            Self::Stack => "stack",
            Self::Frames => "frames",
            Self::Module => "module",
            Self::Mode => "mode",
            Self::StwBegin => "stw_begin",
            Self::StwStopped => "stw_stopped",
            Self::StwEnd => "stw_end",
            Self::Mutex => "mutex",
            Self::Location => "location",
            Self::At => "at",
            Self::SpanBegin => "span_begin",
            Self::SpanEnd => "span_end",
            Self::SpanSwitch => "span_switch",
        }
    }

    pub(super) fn of(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|word| word.name().as_bytes() == name)
    }
}

/// The columns, in order. Streams of a later writer may have more behind them.
pub(crate) fn columns() -> [Field; 9] {
    let field = |name: &str, kind: DataType| Field::new(name, kind, false);
    let word = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let numbers = DataType::List(Field::new_list_field(DataType::UInt64, true).into());
    [
        field("time_ns", DataType::UInt64),
        field("event", word),
        field("tid", DataType::UInt32),
        field("gil", DataType::UInt64),
        field("forced", DataType::Boolean),
        field("hold_ns", DataType::UInt64),
        field("wait_ns", DataType::UInt64),
        Field::new("text", DataType::Utf8, true),
        Field::new("numbers", numbers, true),
    ]
}

/// The schema of a trace with this header.
pub(crate) fn schema_of(header: &Header) -> Schema {
    let mut metadata = HashMap::from([
        (KEY.to_owned(), VERSION.to_string()),
        ("clock".to_owned(), "monotonic".to_owned()),
        ("pid".to_owned(), header.pid.to_string()),
    ]);
    let mode = if header.over_ns.is_some() {
        "slow"
    } else {
        "events"
    };
    for (key, value) in [
        ("python", header.python.clone()),
        ("start", header.start.clone()),
        (
            "start_ns",
            header.start_ns.map(|time_ns| time_ns.to_string()),
        ),
        ("host", header.host.clone()),
        ("target", header.target.clone()),
        ("command", header.command.clone()),
        ("mode", Some(mode.to_owned())),
        ("over_ns", header.over_ns.map(|over_ns| over_ns.to_string())),
    ] {
        if let Some(value) = value {
            metadata.insert(key.to_owned(), value);
        }
    }
    Schema::new_with_metadata(columns().to_vec(), metadata)
}

/// The header of a stream, once its columns are the right ones; also the id of the dictionary of words.
pub(super) fn check(schema: &StoredSchema<'_>) -> Result<(Header, i64), ArrowTraceError> {
    let pairs = || {
        let stored = schema.custom_metadata().into_iter().flatten();
        stored.filter_map(|pair| Some((pair.key()?, pair.value()?)))
    };
    let version = pairs().find(|(key, _)| *key == KEY);
    let (_, version) = version.ok_or(ArrowTraceError::Foreign)?;
    let header = Header::of_pairs(version, pairs().map(|(key, value)| (key, value.to_owned())))?;
    if schema.endianness() != Endianness::Little {
        return Err(ArrowTraceError::Unusual("it was written big-endian"));
    }
    let fields = schema.fields();
    let field = |at: usize| {
        let fields = fields.filter(|fields| at < fields.len())?;
        Some(fields.get(at))
    };
    for (at, column) in columns().iter().enumerate() {
        if !field(at).is_some_and(|stored| is_same(&stored, column)) {
            return Err(ArrowTraceError::Column {
                number: at + 1,
                name: column.name().clone(),
                kind: column.data_type().to_string(),
            });
        }
    }
    let id = field(1).and_then(|field| field.dictionary());
    Ok((header, id.map_or(0, |dictionary| dictionary.id())))
}

fn is_same(stored: &StoredField<'_>, column: &Field) -> bool {
    let is_dictionary = matches!(column.data_type(), DataType::Dictionary(..));
    stored.name() == Some(column.name().as_str())
        && stored.dictionary().is_some() == is_dictionary
        && match column.data_type() {
            DataType::Dictionary(..) => {
                let index = stored
                    .dictionary()
                    .and_then(|dictionary| dictionary.indexType());
                stored.type_type() == Type::Utf8
                    && index.is_some_and(|index| index.bitWidth() == 8 && index.is_signed())
            }
            DataType::UInt64 => is_unsigned(stored, 64),
            DataType::UInt32 => is_unsigned(stored, 32),
            DataType::Boolean => stored.type_type() == Type::Bool,
            DataType::Utf8 => stored.type_type() == Type::Utf8,
            DataType::List(_) => {
                let children = stored.children().filter(|children| children.len() == 1);
                stored.type_type() == Type::List
                    && children.is_some_and(|children| is_unsigned(&children.get(0), 64))
            }
            _ => false,
        }
}

fn is_unsigned(stored: &StoredField<'_>, bits: i32) -> bool {
    let int = stored.type_as_int();
    int.is_some_and(|int| int.bitWidth() == bits && !int.is_signed())
}
