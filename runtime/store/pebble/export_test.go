package pebble

// Tiny makes the engine's buffers so small that some hundred records fill and flush several.
func (o Options) Tiny() Options {
	size := Small.sizes()
	size.memTable = 32 << 10
	o.sizes = &size
	return o
}
