package plugin

import (
	"io"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// RunWith is Run with another emitter.
func RunWith(emit func(*schema.File) ([]byte, error), in io.Reader, out, log io.Writer) error {
	return generator{emit: emit, log: log}.run(in, out)
}
