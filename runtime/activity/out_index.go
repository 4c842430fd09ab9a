package activity

import "iter"

// outIndex finds active operations by a text that several of them may share. Adding and removing one takes the same time
// however many there are.
type outIndex map[string]*outLink

// outLink is an operation's place in one index, between the operations with the same text.
type outLink struct {
	entry        *outEntry
	older, newer *outLink
}

func (x outIndex) add(text string, l *outLink) {
	if l.older = x[text]; l.older != nil {
		l.older.newer = l
	}
	x[text] = l
}

func (x outIndex) remove(text string, l *outLink) {
	if l.older != nil {
		l.older.newer = l.newer
	}
	switch {
	case l.newer != nil:
		l.newer.older = l.older
	case l.older != nil:
		x[text] = l.older
	default:
		delete(x, text)
	}
}

// all goes through the operations with a text, newest first.
func (x outIndex) all(text string) iter.Seq[*outEntry] {
	return func(yield func(*outEntry) bool) {
		for l := x[text]; l != nil; l = l.older {
			if !yield(l.entry) {
				return
			}
		}
	}
}

// only returns the one operation with a text, nil when there are none or several.
func (x outIndex) only(text string) *outEntry {
	if l := x[text]; l != nil && l.older == nil {
		return l.entry
	}
	return nil
}
