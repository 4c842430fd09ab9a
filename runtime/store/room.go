package store

import "fmt"

// Roomy is what a Store implements that knows whether its disk has room for new work.
type Roomy interface {
	// Room returns a *RoomError when there is too little room to take on new work. What was taken on before is still
	// written: its outcomes need the room that is left.
	Room() error
}

// Room asks s whether it has room for new work. A store that does not know has.
func Room(s Store) error {
	if r, ok := s.(Roomy); ok {
		return r.Room()
	}
	return nil
}

// RoomError says that the disk is nearly full.
type RoomError struct {
	Dir string
	// Free is how many bytes are free, Min how many there must be for new work.
	Free, Min uint64
}

// Error implements error.
func (e *RoomError) Error() string {
	return fmt.Sprintf("min_free_disk: the disk of %s has %d bytes free, and new work needs %d. Fix: make room on it", e.Dir, e.Free, e.Min)
}

// Room implements Roomy.
func (s *sub) Room() error { return Room(s.parent) }
