package kv

import "time"

// rowHeap is a binary heap of rows that know their places in it, so that any of them can be taken out.
type rowHeap struct {
	rows []*row
	less func(a, b *row) bool
	// place is where a row keeps its place in this heap, plus one; 0 is outside.
	place func(*row) *int
}

func newSeqHeap() rowHeap {
	return rowHeap{
		less:  func(a, b *row) bool { return a.seq < b.seq },
		place: func(r *row) *int { return &r.inQueue },
	}
}

func newDueHeap() rowHeap {
	return rowHeap{
		less:  func(a, b *row) bool { return earlier(a.due, b.due, a, b) },
		place: func(r *row) *int { return &r.inDue },
	}
}

func newLeaseHeap() rowHeap {
	return rowHeap{
		less:  func(a, b *row) bool { return earlier(a.until, b.until, a, b) },
		place: func(r *row) *int { return &r.inEnds },
	}
}

// earlier orders rows by time. What ends at the same time ends in the order in which it came.
func earlier(x, y time.Time, a, b *row) bool {
	if c := x.Compare(y); c != 0 {
		return c < 0
	}
	return a.seq < b.seq
}

// top returns the first row, nil when there is none.
func (h *rowHeap) top() *row {
	if len(h.rows) == 0 {
		return nil
	}
	return h.rows[0]
}

func (h *rowHeap) push(r *row) {
	if *h.place(r) != 0 {
		return
	}
	h.rows = append(h.rows, r)
	*h.place(r) = len(h.rows)
	h.up(len(h.rows) - 1)
}

// remove takes r out; it does nothing when r is not in.
func (h *rowHeap) remove(r *row) {
	i := *h.place(r) - 1
	if i < 0 {
		return
	}
	last := len(h.rows) - 1
	h.swap(i, last)
	h.rows[last] = nil
	h.rows = h.rows[:last]
	*h.place(r) = 0
	if i < last {
		h.down(i)
		h.up(i)
	}
	// A queue that was once long gives its memory back.
	if c := cap(h.rows); c > 1024 && len(h.rows) < c/4 {
		h.rows = append(make([]*row, 0, c/2), h.rows...)
	}
}

func (h *rowHeap) swap(i, j int) {
	h.rows[i], h.rows[j] = h.rows[j], h.rows[i]
	*h.place(h.rows[i]) = i + 1
	*h.place(h.rows[j]) = j + 1
}

func (h *rowHeap) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(h.rows[i], h.rows[parent]) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *rowHeap) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h.rows) {
			return
		}
		if right := child + 1; right < len(h.rows) && h.less(h.rows[right], h.rows[child]) {
			child = right
		}
		if !h.less(h.rows[child], h.rows[i]) {
			return
		}
		h.swap(i, child)
		i = child
	}
}
