package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// Loss is a part of a directory that cannot be read.
type Loss struct {
	// File is what it is a part of, Offset where it begins and Length how many bytes it has; -1 where that is unknown.
	File           string
	Offset, Length int64
	// From and To are the keys next to it on both sides that can be read, exclusive; nil for none. They are those of the
	// store's user; both are nil where what is lost has no order.
	From, To []byte
	Err      error
}

// Error implements error.
func (l *Loss) Error() string {
	text := l.File
	if l.Offset >= 0 {
		text += fmt.Sprintf(" at byte %d", l.Offset)
	}
	if l.Length >= 0 {
		text += fmt.Sprintf(", %d bytes", l.Length)
	}
	return fmt.Sprintf("%s: %v", text, l.Err)
}

// Unwrap returns the cause.
func (l *Loss) Unwrap() error { return l.Err }

// Salvage calls fn, in order of keys, for every record of a directory that can be read, however damaged the rest of it is,
// and lost for every part that cannot. It changes nothing, and returns which store it was as far as that can be read.
//
// Outside of damaged blocks of tables and damaged parts of logs everything is found. Where a damaged part said that
// something was deleted or changed, what stood there before may be found instead.
func Salvage(dir string, opts Options, lost func(*Loss), fn func(key, value []byte) error) (store.Instance, error) {
	d, err := lockDamaged(dir, opts, lost)
	if err != nil {
		return store.Instance{}, err
	}
	s := salvager{DB: d, fn: fn}
	s.lost = func(l Loss) {
		s.told = true
		l.From, l.To = userPart(l.From), userPart(l.To)
		lost(&l)
	}
	err = s.run(opts)
	return s.found, errors.Join(err, d.lock.Close())
}

// userPart is the user's key of one of the engine's, nil if it is none.
func userPart(key []byte) []byte {
	if len(key) == 0 || key[0] != userSpace {
		return nil
	}
	return key[1:]
}

// lockDamaged is lockExisting for a directory whose format file may be damaged or missing.
func lockDamaged(dir string, opts Options, lost func(*Loss)) (*DB, error) {
	d, _, err := lockExisting(dir, opts)
	var damage *store.DamagedError
	var refused *store.PermissionError
	switch {
	case errors.As(err, &damage):
		lost(&Loss{File: damage.File, Offset: -1, Length: -1, Err: damage.Err})
	case errors.As(err, &refused):
		names, listing := optsFS(opts).List(dir)
		if listing != nil || !slices.ContainsFunc(names, isTracked) {
			return nil, err
		}
		lost(&Loss{File: formatName, Offset: -1, Length: -1, Err: errMissing})
	default:
		return d, err
	}
	return lockAny(dir, opts)
}

type salvager struct {
	*DB
	lost  func(Loss)
	told  bool // whether anything is lost
	fn    func(key, value []byte) error
	found store.Instance
	merge merger
}

func (s *salvager) run(opts Options) (err error) {
	if s.ledger, err = readLedger(s.guard.FS, s.dir); err != nil {
		return err
	}
	live, err := s.inUse(opts)
	if err != nil {
		return err
	}
	s.missing()
	for _, name := range live.tables {
		if err := s.table(name); err != nil {
			return err
		}
	}
	slices.SortFunc(live.logs, func(a, b string) int { // by number
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return slices.Compare([]byte(a), []byte(b))
	})
	for i, name := range live.logs {
		if err := s.log(name, i == len(live.logs)-1); err != nil {
			return err
		}
	}
	if err := s.merge.each(s.record); err != nil {
		return err
	}
	if !s.told && (s.found.ID == "" || s.found.Epoch == 0) {
		s.lost(Loss{File: s.dir, Offset: -1, Length: -1, Err: errors.New("what the store notes of itself with each opening is not there, so other records are missing too")})
	}
	return nil
}

// inUse returns the files that count. A damaged manifest makes all count.
func (s *salvager) inUse(opts Options) (files, error) {
	names, err := s.guard.FS.List(s.dir)
	if err != nil {
		return files{}, fmt.Errorf("listing data directory %s: %w", s.dir, err)
	}
	all := false
	for _, name := range names {
		if !isTracked(name) || isLog(name) {
			continue
		}
		err := checkManifest(s.guard.FS, s.guard.PathJoin(s.dir, name))
		if at := s.ledger.find(name); err == nil && at >= 0 {
			err = s.ledger.entries[at].verify(s.guard.FS, s.dir)
		}
		if err != nil {
			all = true
			if err := s.damage(err, "which tables and logs were in use is unknown; what was deleted lately may be back"); err != nil {
				return files{}, err
			}
		}
	}
	live, err := s.live(opts)
	if err != nil {
		if err := s.damage(err, "which tables and logs were in use is unknown; what was deleted lately may be back"); err != nil {
			return files{}, err
		}
		return live, nil
	}
	if all {
		live = filesOf(names)
	}
	return live, nil
}

// missing reports the logs that should be there. Whether one was still in use is unknown.
func (s *salvager) missing() {
	for _, e := range s.ledger.entries {
		path := s.guard.PathJoin(s.dir, e.name)
		if _, err := s.guard.FS.Stat(path); isLog(e.name) && isNotExist(err) {
			s.lost(Loss{File: path, Offset: 0, Length: int64(e.size), Err: errMissing})
		}
	}
}

// damage reports damage as a loss, with what it means. Other errors are returned.
func (s *salvager) damage(err error, means string) error {
	var damage *store.DamagedError
	if !errors.As(err, &damage) {
		return err
	}
	s.lost(Loss{File: damage.File, Offset: damage.Offset, Length: -1, Err: fmt.Errorf("%w: %s", damage.Err, means)})
	return nil
}

func (s *salvager) table(name string) error {
	path := s.guard.PathJoin(s.dir, name)
	t, err := openTable(s.guard.FS, path)
	if isNotExist(err) {
		s.lost(Loss{File: path, Offset: -1, Length: -1, Err: errMissing})
		return nil
	}
	if err != nil {
		return err
	}
	for _, o := range t.others {
		if _, err := t.read(o); err != nil {
			s.lost(Loss{File: path, Offset: int64(o.offset), Length: int64(o.length), Err: fmt.Errorf("%w: it holds no records, but may have told of deletions", err)})
		}
	}
	if t.wrong != nil {
		end := uint64(0)
		if n := len(t.data); n > 0 {
			end = t.data[n-1].end()
		}
		s.lost(Loss{File: path, Offset: int64(end), Length: int64(t.size - end),
			Err: fmt.Errorf("the table does not tell where its blocks are; %d blocks were found in front of here: %w", len(t.data), t.wrong)})
	}
	s.merge.deletions = append(s.merge.deletions, t.deletions...)
	return s.merge.add(&tableCursor{table: t, lost: s.lost})
}

// log reads a log. After damage it goes on with what can be read behind it; a torn end, which was never promised, ends it.
func (s *salvager) log(name string, last bool) error {
	path := s.guard.PathJoin(s.dir, name)
	data, err := readFile(s.guard.FS, path)
	if err != nil {
		return err
	}
	r := newChunkReader(name, data)
	end, proof := logEnd(r)
	if !last && proof == nil && !r.isTrailer(end) {
		proof = errors.New("the log has no end, and another one follows")
	}
	if at := s.ledger.find(name); proof == nil && at >= 0 {
		if claim := s.ledger.entries[at]; claim.size > uint64(end) && !r.isTrailer(end) || claim.size > uint64(len(data)) {
			proof = fmt.Errorf("the log had %d synced bytes", claim.size)
		}
	}
	var l logReader
	r.valid(l.chunk)
	if proof != nil {
		next := len(data)
		l.open = false
		r.after(end, func(c chunk) {
			next = min(next, c.at)
			l.chunk(c)
		})
		s.lost(Loss{File: path, Offset: int64(end), Length: int64(next - end), Err: proof})
	}
	if l.broken != nil {
		s.lost(Loss{File: path, Offset: -1, Length: -1, Err: l.broken})
	}
	s.merge.deletions = append(s.merge.deletions, l.deletions...)
	return s.merge.add(l.sorted())
}

// record hands a record on.
func (s *salvager) record(e entry) error {
	payload, err := openFrame(e.key, e.value)
	if err != nil {
		s.lost(Loss{File: s.dir, Offset: -1, Length: int64(len(e.value)), From: e.key, To: e.key, Err: fmt.Errorf("record %q: %w", e.key, err)})
		return nil
	}
	switch {
	case e.key[0] == userSpace:
		return s.fn(e.key[1:], payload)
	case string(e.key) == idKey:
		s.found.ID = string(payload)
	case string(e.key) == epochKey && len(payload) == 8:
		s.found.Epoch = binary.LittleEndian.Uint64(payload)
	}
	return nil
}
