package rules

import (
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// place is somewhere in a schema. Without a file it is nowhere; without a path, or where the compiler recorded nothing,
// it is the file.
type place struct {
	file *file
	path protoreflect.SourcePath
}

// file is a schema file with what the compiler recorded of its places.
type file struct {
	desc *descriptorpb.FileDescriptorProto
	// recorded has the paths of all recorded places and of what is around them.
	recorded map[string]bool
	// starts has the path of what begins at a line and column, both from 1.
	starts map[[2]int]protoreflect.SourcePath
}

func newFile(desc *descriptorpb.FileDescriptorProto) *file {
	f := &file{desc: desc, recorded: make(map[string]bool), starts: make(map[[2]int]protoreflect.SourcePath)}
	for _, l := range desc.GetSourceCodeInfo().GetLocation() {
		p, span := protoreflect.SourcePath(l.GetPath()), l.GetSpan()
		if len(span) < 2 {
			continue
		}
		for n := len(p); n > 0; n-- {
			f.recorded[key(p[:n])] = true
		}
		start := [2]int{int(span[0]) + 1, int(span[1]) + 1}
		if _, ok := f.starts[start]; !ok {
			f.starts[start] = slices.Clone(p)
		}
	}
	return f
}

func (f *file) path() string { return f.desc.GetName() }

// nearest returns the deepest part of p, down to length least, of which the compiler recorded something.
func (f *file) nearest(p protoreflect.SourcePath, least int) place {
	for n := len(p); n >= least && n > 0; n-- {
		if f.recorded[key(p[:n])] {
			return place{file: f, path: slices.Clone(p[:n])}
		}
	}
	return place{file: f}
}

// at returns the place of a finding.
func (f *file) at(p schema.Position) place {
	return place{file: f, path: f.starts[[2]int{p.Line, p.Column}]}
}

func key(p protoreflect.SourcePath) string {
	var b strings.Builder
	for _, n := range p {
		b.WriteString(strconv.Itoa(int(n)))
		b.WriteByte('.')
	}
	return b.String()
}
