package pebble

// Tiny returns the options with buffers so small that some hundred records fill and flush several.
func (o Options) Tiny() Options {
	o.Profile = Tiny
	return o
}
