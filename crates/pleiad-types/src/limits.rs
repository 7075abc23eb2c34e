//! Every limit of pleiad, with its unit and its reason. Reaching one is an error with a name.

use std::time::Duration;

/// Times that a job may be on a worker when that worker dies. A job that kills its worker would
/// otherwise come back for ever; three tells it apart from bad luck.
pub const DEATHS_MAX: u32 = 3;

/// Jobs given to one lane ahead of time: enough to hide the way there and back for jobs of a
/// microsecond, few enough to take back quickly.
pub const LANE_JOBS_MAX: usize = 1024;

/// Work given to one lane ahead of time. A more urgent job waits at most this long for a lane.
pub const LANE_WORK_MAX: Duration = Duration::from_millis(10);

/// A lane that has finished nothing for this long gives back the jobs that wait in it.
pub const LANE_STALL: Duration = Duration::from_millis(50);

/// Lanes of one machine. Processors limit them long before, except for jobs that take none.
pub const MACHINE_LANES_MAX: usize = 4096;

/// Starts by which smaller jobs may overtake one that waits for room, before room is kept for it.
pub const OVERTAKES_MAX: u32 = 100;

/// Retries that a job may ask for.
pub const RETRIES_MAX: u32 = 1_000_000;

/// Arguments or result of one job, and one message to or from it. Larger data belongs in files.
pub const BODY_BYTES_MAX: usize = 1 << 30;

/// Output of one stream of a program that is kept in memory; what is beyond goes to a file.
pub const OUTPUT_MEMORY_BYTES: usize = 1 << 20;

/// The end of a program's standard error, or of a worker's, that goes into an error.
pub const STDERR_TAIL_BYTES: usize = 4096;

/// Time between the polite request to stop and the end by force.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// Jobs of one `map` that may wait or run at once, unless it says otherwise: bounds the memory of
/// a map over an endless iterator.
pub const MAP_OUTSTANDING: usize = 65_536;

/// Provisional results, progress and messages of one job that wait to be read; the oldest goes.
pub const JOB_MESSAGES_MAX: usize = 1024;

/// Events that wait for a slow reader; beyond it, the reader is told how many it has missed.
pub const EVENTS_MAX: usize = 4096;

/// Messages in a task's mailbox, unless it asks for another number: enough for a burst of one turn
/// of the scheduler, few enough that a sender that is too fast is seen soon.
pub const MAILBOX_MESSAGES: usize = 1024;

/// Length of the name of a task or channel.
pub const NAME_BYTES_MAX: usize = 255;

/// Channels above each other. Each level is a call within a call when a message is published.
pub const CHANNEL_LEVELS_MAX: usize = 32;

/// Restarts within its period that a supervisor may allow: it remembers the time of each, in 8 KiB.
/// Who wants no limit has more than enough.
pub const RESTARTS_MAX: u32 = 1000;

/// A message between two nodes, when serialised; larger data belongs in files.
pub const MESSAGE_BYTES_MAX: usize = 1 << 28;

/// A message up to this size travels with the other small ones; a larger one on a connection of its
/// own, so that it delays none of them. 64 KiB take 50 µs at 10 Gbit/s.
pub const SMALL_BODY_BYTES: usize = 1 << 16;

/// One frame on a link, its header included: a small message with all that it refers to.
pub const FRAME_BYTES_MAX: usize = 1 << 18;

/// The part of a large message that travels in one frame.
pub const CHUNK_BYTES: usize = 1 << 16;

/// References and replies in one message: with the longest names, they fit into a frame beside the
/// largest small body.
pub const ATTACHED_MAX: usize = 512;

/// Frames of one connection that wait to be written, or that the peer has not yet confirmed, after
/// which messages are refused: 8 MiB are the way of 1 Gbit/s over 60 ms.
pub const LANE_BYTES_MAX: usize = 8 << 20;

/// The same, after which the peer is given up: what is not refused (answers, ends of tasks) has come
/// to so much because it does not read.
pub const LANE_BYTES_GIVE_UP: usize = 64 << 20;

/// Messages to one task that are on the way, or wait at the far node for room in its mailbox.
pub const STREAM_MESSAGES_MAX: u64 = 4096;

/// Their size, after which no further one is sent. One message may be larger.
pub const STREAM_BYTES_MAX: u64 = 4 << 20;

/// Large messages from one peer that are not complete yet, all together, besides one of any size.
pub const LARGE_BYTES_MAX: usize = 64 << 20;

/// A text for people in what two nodes say to each other: the message of a panic, a backtrace. Three of them
/// are far less than a frame.
pub const TEXT_BYTES_MAX: usize = 32 << 10;

/// What one side says when a connection begins.
pub const GREETING_BYTES_MAX: usize = 16 << 10;

/// Addresses that a node may announce.
pub const ADDRESSES_MAX: usize = 32;

/// Time without a sign of life after which a peer is lost, unless its node wants another.
pub const LOST_AFTER: Duration = Duration::from_secs(5);

/// The shortest such time that may be asked for. Below it, a busy machine is taken for a lost one.
pub const LOST_AFTER_MIN: Duration = Duration::from_millis(100);

/// Time that a peer has to say goodbye when a node closes.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

/// Names that a peer waits for to appear.
pub const LOCATES_MAX: usize = 65_536;

/// JSON that is sent to a task or service by its name: somebody has typed it, or a script has made it.
pub const SYSTEM_JSON_BYTES_MAX: usize = 1 << 20;

/// Calls of services by JSON that a node runs at once; further ones are refused.
pub const SYSTEM_CALLS_MAX: usize = 64;

/// Tasks, names or peers that a node lists for others: some 2 MiB.
pub const SYSTEM_LINES_MAX: usize = 10_000;

/// Requests that are answered to find the shape of a type: some 20 ms. An enum of a thousand variants
/// with ten fields each takes 20,000.
pub const SHAPE_STEPS_MAX: usize = 1 << 18;

/// Positions that are remembered for the shape of a type: some 8 MiB until it is found, and 50 ms to
/// compare them. A type of ten kinds of messages has a hundred.
pub const SHAPE_NODES_MAX: usize = 1 << 15;

/// Values within each other that are read for the shape of a type. Each is a few calls within calls.
pub const SHAPE_DEPTH_MAX: usize = 128;

/// Levels of a type that its shape depends on. Types that are used far apart are told apart by what
/// is close to them.
pub const SHAPE_LEVELS: usize = 64;

/// What a shape shows to people: two lines of a terminal.
pub const SHAPE_TEXT_BYTES: usize = 200;

/// A file of keys or certificates: dozens of certificates fit, a wrong file does not fill the memory.
pub const KEY_FILE_BYTES_MAX: usize = 1 << 20;

/// Certificates that are revoked. Each is a line of a file and is looked up at every handshake.
pub const REVOKED_MAX: usize = 10_000;

/// Name of a cluster, which is part of its certificate: X.509 allows 64 characters there.
pub const CLUSTER_NAME_BYTES_MAX: usize = 64;

/// Invitations that an inviting node keeps at once, those that are used up or expired included.
pub const INVITATIONS_MAX: usize = 1000;

/// Machines that one invitation may admit.
pub const INVITATION_USES_MAX: u32 = 10_000;

/// Age of an invitation, unless it says otherwise: made today, used tomorrow.
pub const INVITATION_AGE: Duration = Duration::from_secs(24 * 3600);

/// Wrong secrets in a row from one address, before it has to wait. They cannot be guessed (128
/// bit); this bounds the work that a stranger causes, and forgives a mistake or two.
pub const WRONG_SECRETS_MAX: u32 = 5;

/// How long an address waits that has sent too many wrong secrets.
pub const WRONG_SECRETS_WAIT: Duration = Duration::from_secs(60);

/// Addresses whose wrong secrets are counted; beyond it, the one that was silent longest is
/// forgotten. About 64 KiB.
pub const WRONG_ADDRESSES_MAX: usize = 1024;

/// One message of the admission exchange: two certificates and a name need about 1 KiB.
pub const ADMISSION_BYTES_MAX: usize = 16 << 10;

/// The admission exchange from its first byte to its last; it is one question and one answer.
pub const ADMISSION_TIME_MAX: Duration = Duration::from_secs(10);

/// Length of the name of a cluster: it is also the name of a directory.
pub const CLUSTER_BYTES_MAX: usize = 64;

/// Nodes of one user on one machine that a newcomer looks at; what is beyond meets it by the others.
pub const NEIGHBOURS_MAX: usize = 1024;

/// The file in which a node tells its neighbours where it is: its name and addresses.
pub const NEIGHBOUR_BYTES_MAX: usize = 4096;

/// Nodes heard of on the network that wait to be dialled; beyond it, the network waits.
pub const FOUND_MAX: usize = 256;

/// An address heard of on the network is given at most once in this time, whoever names it.
pub const FOUND_INTERVAL: Duration = Duration::from_secs(1);

/// Addresses from the network that are remembered for that, in about 128 KiB: also the most that
/// are given in that time.
pub const FOUND_MEMORY: usize = 1024;

/// Other clusters on the network that are counted.
pub const OTHER_CLUSTERS_MAX: usize = 64;

/// Records of the network that are kept, five to ten a node. Beyond it somebody plays tricks, and
/// all are thrown away.
pub const NETWORK_RECORDS_MAX: u64 = 16_384;

/// The longest time for finding the addresses of a name.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls of one service that run at once, unless it wants another number: for functions that wait more
/// than they calculate.
pub const SERVICE_RUNNING: usize = 1024;

/// Calls of one service that wait for their turn; beyond it, they are refused. With small arguments,
/// some 10 MiB.
pub const SERVICE_WAITING_MAX: usize = 16_384;

/// Messages of other nodes to one channel that wait for subscribers or for their room, each with a task
/// of its own; beyond it, publishers are told that it is busy.
pub const CHANNEL_WAITING_MAX: usize = 4096;

/// Messages from another node's channel that are on their way through this node to one subscriber, in
/// addition to what its mailbox holds: a few, so that many need no more turns than they do.
pub const CHANNEL_FORWARDED_MAX: usize = 64;

/// Time that the node of a channel has, after a time limit has passed there, to say what was reached.
pub const CHANNEL_ANSWER_GRACE: Duration = Duration::from_millis(500);

/// A file that a node takes from others, unless it says otherwise: images of disks fit, an endless one
/// is stopped.
pub const FILE_BYTES_MAX: u64 = 64 << 30;

/// All files in the directory for files of others, unless the node says otherwise. That the disk is not
/// filled by mistake; whoever has more to keep knows.
pub const FILES_BYTES_MAX: u64 = 1 << 40;

/// The part of a file that travels in one message. Four are on the way at once, see
/// [`STREAM_BYTES_MAX`].
pub const FILE_CHUNK_BYTES: usize = 1 << 20;

/// Where a file goes in a directory for files, all names of directories included.
pub const FILE_PATH_BYTES_MAX: usize = 1024;

/// Files that a node sends at once; further ones wait for their turn. Each has a thread that reads, and
/// more of them do not go faster together.
pub const FILES_SENT_AT_ONCE: usize = 4;

/// Files that a node takes at once; further ones are refused. Each has a thread that writes, of 512
/// that a runtime has for all.
pub const FILES_TAKEN_AT_ONCE: usize = 64;

/// Time without progress after which the transfer of a file is given up, unless it says otherwise.
pub const FILE_TIMEOUT: Duration = Duration::from_secs(10);

/// A disk that is slower than this in bytes a second is taken for broken by who waits for a file to be
/// read over there.
pub const FILE_SPEED_MIN: u64 = 50_000_000;

/// Time after which a node gives up a file of which nothing more comes, though the sender is there.
pub const FILE_IDLE_MAX: Duration = Duration::from_secs(60);

/// Parts of files that are kept, for their transfer to go on; beyond it, the oldest goes.
pub const FILE_PARTS_MAX: usize = 64;

/// How long they are kept: a night and a morning.
pub const FILE_PART_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
