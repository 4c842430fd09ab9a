package store

// Reader is the reading part of a Store. Its methods mean what those of Store do; one that is no Store does not fail when
// it meets damage: it returns the *DamagedError, and goes on with what is whole.
type Reader interface {
	Get(key []byte) ([]byte, error)
	Scan(start, end []byte, fn func(key, value []byte) error) error
	ScanReverse(start, end []byte, fn func(key, value []byte) error) error
	Instance() Instance
}

// SubReader is Sub for what is only read.
func SubReader(r Reader, prefix string) Reader {
	return &subReader{Reader: r, prefix: []byte(prefix), end: successor([]byte(prefix))}
}

// subReader is the part of a Reader whose keys begin with prefix.
type subReader struct {
	Reader
	prefix []byte
	end    []byte // first key after all that begin with prefix; nil when there is none
}

func (s *subReader) upTo(end []byte, join func(prefix, key []byte) []byte) []byte {
	if end == nil {
		return s.end
	}
	return join(s.prefix, end)
}

func (s *subReader) Get(key []byte) ([]byte, error) { return s.Reader.Get(join(s.prefix, key)) }

func (s *subReader) Scan(start, end []byte, fn func(key, value []byte) error) error {
	return s.Reader.Scan(join(s.prefix, start), s.upTo(end, join), s.strip(fn))
}

func (s *subReader) ScanReverse(start, end []byte, fn func(key, value []byte) error) error {
	return s.Reader.ScanReverse(join(s.prefix, start), s.upTo(end, join), s.strip(fn))
}

func (s *subReader) strip(fn func(key, value []byte) error) func(key, value []byte) error {
	return func(key, value []byte) error { return fn(key[len(s.prefix):], value) }
}
