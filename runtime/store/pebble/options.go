package pebble

import (
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// formatMajorVersion is the engine's own format, chosen when a directory is made. From FormatWALSyncChunks on the log
// tells a damaged middle from its end; from FormatTableFormatV6 on the footers of tables have checksums too. Raising
// it means raising format as well, so that no directory is upgraded without anybody asking.
const formatMajorVersion = pebble.FormatTableFormatV6

// Profile is a choice of sizes.
type Profile int

const (
	// Small suits an agent: at most some 16 MiB of memory while idle, 24 open files.
	Small Profile = iota
	// Service suits a router or another service: buffers of up to 256 MiB under load, 256 open files.
	Service
	// Tiny is for tests: some hundred records fill its buffers several times, and it opens fast.
	Tiny
)

// Options configures Open. The zero Options is usable.
type Options struct {
	// Profile chooses the sizes. The default is Small. A directory may be opened with another Profile than before.
	Profile Profile
	// Logger takes what the engine has to say: failures and damage at error level, delays at warn level, its routine
	// at debug level. The default is slog.Default().
	Logger *slog.Logger
	// MinFree is how many bytes must be free on the disk for new work: below it Room says so, and the layers above refuse
	// it. The default is DefaultMinFree, or DefaultMinFreeService with that Profile; negative is no limit.
	MinFree int64
	// FS is for tests: the file system to use in place of the operating system's. Ownership and permissions are then
	// not looked at.
	FS vfs.FS
}

// sizes are the figures behind a Profile.
type sizes struct {
	memTable    uint64 // bytes
	memTables   int    // how many may wait for being flushed before writes stop
	cache       int64  // bytes
	openFiles   int
	compactions int
}

func (p Profile) sizes() sizes {
	switch p {
	case Service:
		return sizes{memTable: 32 << 20, memTables: 6, cache: 64 << 20, openFiles: 256, compactions: 2}
	case Tiny:
		return sizes{memTable: 32 << 10, memTables: 4, cache: 64 << 10, openFiles: 24, compactions: 1}
	default:
		return sizes{memTable: 4 << 20, memTables: 4, cache: 2 << 20, openFiles: 24, compactions: 1}
	}
}

func (o Options) logger() *slog.Logger {
	if o.Logger != nil {
		return o.Logger
	}
	return slog.Default()
}

func (o Options) engine(fs vfs.FS, lock *pebble.Lock, events engineEvents) *pebble.Options {
	size := o.Profile.sizes()
	engine := &pebble.Options{
		FS:                          fs,
		Lock:                        lock,
		Logger:                      events,
		EventListener:               events.listener(),
		FormatMajorVersion:          formatMajorVersion,
		MemTableSize:                size.memTable,
		MemTableStopWritesThreshold: size.memTables,
		CacheSize:                   size.cache,
		MaxOpenFiles:                size.openFiles,
		CompactionConcurrencyRange:  func() (int, int) { return 1, size.compactions },
		// Writes stop only when compaction is hopelessly behind: a slow disk shows in latency first.
		L0CompactionThreshold: 4,
		L0StopWritesThreshold: 64,
		MaxManifestFileSize:   4 << 20,
	}
	engine.Experimental.FileCacheShards = 1
	for i := range engine.Levels {
		engine.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.FastestCompression }
		// Most lookups are for ids that were never seen; ten bits a key spare 99 of 100 reads for them.
		engine.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return engine
}
