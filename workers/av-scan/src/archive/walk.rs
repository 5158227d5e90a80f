//! Along a ZIP from its first byte: each member is unpacked and looked at, and nothing may lie between them.

use miniz_oxide::{
    DataFormat, MZError, MZFlush, MZStatus,
    inflate::stream::{InflateState, inflate},
};

use super::{
    Allowance, ELSEWHERE, Eye, LOCAL_HEADER,
    directory::{Directory, Member, name_hash},
    number,
};
use crate::reply::Unscannable;

const HEADER_BYTES: usize = 30;
/// Of a header with its name and extra fields; honest ones have some hundred bytes.
const HEADER_BYTES_MAX: usize = HEADER_BYTES + 2 * 65_535;
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";
const DESCRIPTOR: &[u8] = b"PK\x07\x08";
const STORED: u64 = 0;
const DEFLATED: u64 = 8;
const PIECE_BYTES: usize = 32 * 1024;

pub struct Walk {
    depth: u8,
    place: u64,
    step: Step,
    members: Vec<Member>,
    /// Where it was met.
    directory_at: Option<u64>,
}

enum Step {
    /// Gathers a header with its name and extra fields.
    Header(Vec<u8>),
    Stored(Current),
    Deflated(Current, Box<InflateState>),
    /// Behind a member whose header did not know its sizes.
    Descriptor(Member, Vec<u8>),
    /// Behind the members.
    Directory,
    Ended(Unscannable),
}

/// The member that is being unpacked.
struct Current {
    member: Member,
    /// As the header has it; none where a descriptor follows.
    packed_bytes: Option<u64>,
    bytes: Option<u64>,
    eye: Box<Eye>,
}

impl Walk {
    pub fn new(depth: u8) -> Self {
        Self { depth, place: 0, step: Step::Header(Vec::new()), members: Vec::new(), directory_at: None }
    }

    pub fn feed(&mut self, mut piece: &[u8], allowance: &mut Allowance) {
        while !piece.is_empty() {
            let step = std::mem::replace(&mut self.step, Step::Directory);
            let used = match self.advance(step, piece, allowance) {
                Ok((step, used)) => {
                    self.step = step;
                    used
                }
                Err(why) => {
                    self.step = Step::Ended(why);
                    piece.len()
                }
            };
            self.place += used as u64;
            piece = piece.get(used..).unwrap_or_default();
        }
    }

    /// # Errors
    /// Why the archive can not be believed, when the members that were seen are not those of the directory, or it is not the first
    /// thing behind them.
    pub fn agrees_with(&self, directory: &Directory) -> Result<(), Unscannable> {
        match &self.step {
            Step::Ended(why) => Err(*why),
            Step::Directory if self.members == directory.members && self.directory_at == Some(directory.start) => {
                Ok(())
            }
            _ => Err(Unscannable::ArchiveNotCovered),
        }
    }

    /// The next step, and how much of `piece` this one took.
    fn advance(&mut self, step: Step, piece: &[u8], allowance: &mut Allowance) -> Result<(Step, usize), Unscannable> {
        match step {
            Step::Header(gathered) => self.header(gathered, piece, allowance),
            Step::Stored(current) => self.stored(current, piece, allowance),
            Step::Deflated(current, state) => self.deflated(current, state, piece, allowance),
            Step::Descriptor(member, gathered) => self.descriptor(member, gathered, piece),
            Step::Directory => Ok((Step::Directory, piece.len())),
            Step::Ended(why) => Err(why),
        }
    }

    fn header(
        &mut self,
        mut gathered: Vec<u8>,
        piece: &[u8],
        allowance: &mut Allowance,
    ) -> Result<(Step, usize), Unscannable> {
        let missing = header_bytes(&gathered).saturating_sub(gathered.len());
        let taken = piece.get(..missing).unwrap_or(piece);
        gathered.extend_from_slice(taken);
        let offset = self.place + taken.len() as u64 - gathered.len() as u64;
        if gathered.len() >= 4 && gathered.starts_with(DIRECTORY_ENTRY) {
            self.directory_at = Some(offset);
            return Ok((Step::Directory, taken.len()));
        }
        if gathered.len() >= 4 && !gathered.starts_with(LOCAL_HEADER) {
            return Err(Unscannable::ArchiveNotCovered);
        }
        if gathered.len() < header_bytes(&gathered) {
            return Ok((Step::Header(gathered), taken.len()));
        }
        allowance.begin_member()?;
        Ok((self.begin(&gathered, offset)?, taken.len()))
    }

    fn begin(&mut self, header: &[u8], offset: u64) -> Result<Step, Unscannable> {
        const UNREADABLE: Unscannable = Unscannable::ArchiveNotCovered;
        let field = |at, width| number(header, at, width).ok_or(UNREADABLE);
        let (flags, method, packed, bytes, name) =
            (field(6, 2)?, field(8, 2)?, field(18, 4)?, field(22, 4)?, field(26, 2)?);
        if flags & 1 != 0 {
            return Err(Unscannable::Encrypted);
        }
        if packed == ELSEWHERE || bytes == ELSEWHERE {
            return Err(UNREADABLE);
        }
        let name_end = HEADER_BYTES + usize::try_from(name).map_err(|_| UNREADABLE)?;
        let name = name_hash(header.get(HEADER_BYTES..name_end).ok_or(UNREADABLE)?);
        let told = (flags & 8 == 0).then_some(());
        let current = Current {
            member: Member { offset, method, packed_bytes: 0, bytes: 0, name },
            packed_bytes: told.map(|()| packed),
            bytes: told.map(|()| bytes),
            eye: Box::new(Eye::new(self.depth + 1)),
        };
        match method {
            // Where it ends could not be known.
            STORED if told.is_none() => Err(UNREADABLE),
            STORED if packed != bytes => Err(UNREADABLE),
            STORED if packed == 0 => Ok(Step::Header(self.seen(current.member))),
            STORED => Ok(Step::Stored(current)),
            DEFLATED => Ok(Step::Deflated(current, InflateState::new_boxed(DataFormat::Raw))),
            _ => Err(UNREADABLE),
        }
    }

    fn stored(
        &mut self,
        mut current: Current,
        piece: &[u8],
        allowance: &mut Allowance,
    ) -> Result<(Step, usize), Unscannable> {
        let left = current.packed_bytes.unwrap_or_default().saturating_sub(current.member.packed_bytes);
        let taken = usize::try_from(left).map_or(piece, |left| piece.get(..left).unwrap_or(piece));
        current.member.packed_bytes += taken.len() as u64;
        current.look(taken, allowance)?;
        if Some(current.member.packed_bytes) < current.packed_bytes {
            return Ok((Step::Stored(current), taken.len()));
        }
        Ok((self.ended(current, allowance)?, taken.len()))
    }

    fn deflated(
        &mut self,
        mut current: Current,
        mut state: Box<InflateState>,
        piece: &[u8],
        allowance: &mut Allowance,
    ) -> Result<(Step, usize), Unscannable> {
        let (mut used, mut unpacked) = (0, vec![0; PIECE_BYTES]);
        loop {
            let input = piece.get(used..).unwrap_or_default();
            let done = inflate(&mut state, input, &mut unpacked, MZFlush::None);
            used += done.bytes_consumed;
            current.member.packed_bytes += done.bytes_consumed as u64;
            current.look(unpacked.get(..done.bytes_written).unwrap_or_default(), allowance)?;
            match done.status {
                Ok(MZStatus::StreamEnd) => return Ok((self.ended(current, allowance)?, used)),
                Ok(MZStatus::Ok) | Err(MZError::Buf) if done.bytes_consumed + done.bytes_written > 0 => {}
                // It wants more.
                Ok(MZStatus::Ok) | Err(MZError::Buf) => return Ok((Step::Deflated(current, state), used)),
                Ok(MZStatus::NeedDict) | Err(_) => return Err(Unscannable::ArchiveNotCovered),
            }
        }
    }

    fn ended(&mut self, current: Current, allowance: &Allowance) -> Result<Step, Unscannable> {
        if let Some(why) = current.eye.verdict(allowance.limits) {
            return Err(why);
        }
        let Current { member, packed_bytes, bytes, .. } = current;
        match (packed_bytes, bytes) {
            (None, _) | (_, None) => Ok(Step::Descriptor(member, Vec::new())),
            told if told == (Some(member.packed_bytes), Some(member.bytes)) => Ok(Step::Header(self.seen(member))),
            _ => Err(Unscannable::ArchiveNotCovered),
        }
    }

    /// CRC and two sizes, with or without a mark before them.
    fn descriptor(
        &mut self,
        member: Member,
        mut gathered: Vec<u8>,
        piece: &[u8],
    ) -> Result<(Step, usize), Unscannable> {
        let whole = |gathered: &[u8]| match gathered.get(..4) {
            None => 4,
            Some(DESCRIPTOR) => 16,
            Some(_) => 12,
        };
        let taken = piece.get(..whole(&gathered) - gathered.len()).unwrap_or(piece);
        gathered.extend_from_slice(taken);
        let size = whole(&gathered);
        if gathered.len() < size {
            return Ok((Step::Descriptor(member, gathered), taken.len()));
        }
        let told = (number(&gathered, size - 8, 4), number(&gathered, size - 4, 4));
        if told != (Some(member.packed_bytes), Some(member.bytes)) {
            return Err(Unscannable::ArchiveNotCovered);
        }
        Ok((Step::Header(self.seen(member)), taken.len()))
    }

    /// Room for the next header.
    fn seen(&mut self, member: Member) -> Vec<u8> {
        self.members.push(member);
        Vec::new()
    }
}

impl Current {
    fn look(&mut self, unpacked: &[u8], allowance: &mut Allowance) -> Result<(), Unscannable> {
        self.member.bytes += unpacked.len() as u64;
        allowance.spend(unpacked.len() as u64)?;
        if self.member.bytes > allowance.limits.member_bytes_max {
            return Err(Unscannable::LimitsExceeded);
        }
        self.eye.observe(unpacked, allowance);
        Ok(())
    }
}

/// How long the header is whose first bytes these are, as far as they tell.
fn header_bytes(gathered: &[u8]) -> usize {
    let length = |at| number(gathered, at, 2).and_then(|n| usize::try_from(n).ok());
    match (gathered.len(), length(26), length(28)) {
        (0..4, ..) => 4,
        (_, Some(name), Some(extra)) => (HEADER_BYTES + name + extra).min(HEADER_BYTES_MAX),
        _ => HEADER_BYTES,
    }
}
