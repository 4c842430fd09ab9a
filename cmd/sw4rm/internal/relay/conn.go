package relay

import (
	"net"
	"sync"
)

// conns are the agents' ends of the connections to a relay, by the address from which they came.
type conns struct {
	net.Listener

	mu   sync.Mutex
	open map[string]*conn
}

func newConns(l net.Listener) *conns { return &conns{Listener: l, open: map[string]*conn{}} }

// Accept implements net.Listener.
func (l *conns) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	wrapped := &conn{Conn: c, of: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[c.RemoteAddr().String()] = wrapped
	return wrapped, nil
}

// from returns the connection from an address, nil when it is closed.
func (l *conns) from(addr string) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open[addr]
}

// silenceAll lets every open connection fall silent, and returns how many.
func (l *conns) silenceAll() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.open {
		c.silence()
	}
	return len(l.open)
}

// conn is a connection that can be torn off in the middle of what is written, or fall silent both ways.
type conn struct {
	net.Conn
	of *conns

	mu   sync.Mutex
	torn bool // the next write ends in its middle, with a reset
	mute bool // what is written goes nowhere, and what is read came from nowhere
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	torn, mute := c.torn, c.mute
	c.mu.Unlock()
	switch {
	case mute:
		return len(p), nil
	case torn:
		n, _ := c.Conn.Write(p[:len(p)/2]) // it fails next anyway
		c.reset()
		return n, net.ErrClosed
	default:
		return c.Conn.Write(p)
	}
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		c.mu.Lock()
		mute := c.mute
		c.mu.Unlock()
		if !mute || err != nil {
			return n, err
		}
	}
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c.RemoteAddr().String())
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// tear ends the connection in the middle of the next write.
func (c *conn) tear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.torn = true
}

// silence lets the connection stay open and carry nothing, for good.
func (c *conn) silence() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mute = true
}

// reset ends the connection as a router between does that has forgotten it.
func (c *conn) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // what is underway is dropped, and the other side is told at once
	}
	_ = c.Close() // it may be closed already
}
