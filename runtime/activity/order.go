package activity

import "slices"

// order keeps numbers sorted. Removing is lazy: whoever holds the numbers says which are alive, so that neither the lowest
// nor adding at the end costs more when much is held.
type order struct {
	numbers []uint64
	head    int // everything before it is dead
	dead    int // how many were removed since the last sweep
	alive   func(uint64) bool
}

// add inserts n, which is alive.
func (o *order) add(n uint64) {
	if k := len(o.numbers); k == 0 || o.numbers[k-1] < n {
		o.numbers = append(o.numbers, n)
		return
	}
	at, found := slices.BinarySearch(o.numbers, n)
	if !found {
		o.numbers = slices.Insert(o.numbers, at, n)
	}
	o.head = min(o.head, at)
}

// removed notes that some number is alive no more.
func (o *order) removed() {
	o.dead++
	if o.dead < 1024 || o.dead < len(o.numbers)/2 {
		return
	}
	o.numbers = slices.DeleteFunc(o.numbers, func(n uint64) bool { return !o.alive(n) })
	o.head, o.dead = 0, 0
}

// lowest returns the lowest number that is alive, or otherwise when none is.
func (o *order) lowest(otherwise uint64) uint64 {
	for ; o.head < len(o.numbers); o.head++ {
		if n := o.numbers[o.head]; o.alive(n) {
			return n
		}
	}
	return otherwise
}

// all returns what is alive, lowest first.
func (o *order) all() []uint64 {
	out := make([]uint64, 0, max(0, len(o.numbers)-o.head-o.dead))
	for _, n := range o.numbers[o.head:] {
		if o.alive(n) {
			out = append(out, n)
		}
	}
	return out
}

// newest returns at most n numbers that are alive, highest first.
func (o *order) newest(n int) []uint64 {
	var out []uint64
	for _, v := range slices.Backward(o.numbers[o.head:]) {
		if len(out) >= n {
			break
		}
		if o.alive(v) {
			out = append(out, v)
		}
	}
	return out
}
