package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Position is a place in a schema.
type Position struct {
	// File is the schema's path as the compiler knows it.
	File string
	// Line and Column count from 1; both are 0 when the compiler gave no source information.
	Line, Column int
	// Element is the full name of the declaration that the position belongs to.
	Element string
}

// String returns FILE:LINE:COLUMN, without source information FILE: ELEMENT.
func (p Position) String() string {
	switch {
	case p.Line > 0:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	case p.Element != "" && p.Element != p.File:
		return p.File + ": " + p.Element
	default:
		return p.File
	}
}

// Finding is a mistake in a schema with its remedy.
type Finding struct {
	Position Position
	// Message names the thing and what is wrong with it, Fix what to write instead.
	Message, Fix string
}

// String returns the finding on one line.
func (f Finding) String() string {
	return oneLine(fmt.Sprintf("%v: %s. Fix: %s", f.Position, f.Message, f.Fix))
}

// Findings are all mistakes of a schema, sorted by file, line and column. They are an error.
type Findings []Finding

// Error returns a line for each finding.
func (f Findings) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].String()
	}
	return strings.Join(lines, "\n")
}

// sorted returns the findings in order, each once.
func (f Findings) sorted() Findings {
	slices.SortFunc(f, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(a.Position.File, b.Position.File),
			cmp.Compare(a.Position.Line, b.Position.Line),
			cmp.Compare(a.Position.Column, b.Position.Column),
			cmp.Compare(a.Position.Element, b.Position.Element),
			cmp.Compare(a.Message, b.Message),
			cmp.Compare(a.Fix, b.Fix),
		)
	})
	return slices.Compact(f)
}

// oneLine keeps what a schema contains from breaking a line or hiding text in it.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}
