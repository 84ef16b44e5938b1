package nbd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"syscall"

	"understudy/internal/dr"
)

// DialOptions says how to connect.
type DialOptions struct {
	// MetaContexts are asked of the server; the Client's MetaContexts tells which it has.
	MetaContexts []string
	// TLS is used for nbds addresses; nil means the system's roots. A missing ServerName is set to the host.
	TLS *tls.Config
	// Connections is how many connections to share the requests between; 0 means 1. A server that does not allow
	// more than one gets one.
	Connections int
}

// ErrNoMetaContext says that the server does not have the meta context asked for.
var ErrNoMetaContext = errors.New("meta context not available")

// ErrClosed is the error of requests to a Client after Close.
var ErrClosed = errors.New("nbd: client closed")

const (
	// pieceLen is the longest read or write sent as one request: long ones are pipelined in pieces, which
	// spreads them over connections and keeps the server's memory small.
	pieceLen = 2 << 20
	// window is how many pieces of one call are under way at a time.
	window = 8
	// statusLen is the longest range asked for in one block status request.
	statusLen = 1 << 31
	// zeroLen is the longest range zeroed or trimmed by one request.
	zeroLen = 1 << 30
)

// A Client is a connection to one export. Its methods may be called from many goroutines at once; their requests
// share the connections. When a connection breaks, every request on it fails, and so does every later one.
type Client struct {
	conns []*clientConn
	next  atomic.Uint32
	exp   exportInfo
}

// Dial connects to the export that uri names. ctx bounds the connecting only.
func Dial(ctx context.Context, uri string, o DialOptions) (*Client, error) {
	a, err := parseURI(uri)
	if err != nil {
		return nil, err
	}
	c := &Client{}
	for i := range max(o.Connections, 1) {
		if i > 0 && c.exp.flags&flagCanMultiConn == 0 {
			break
		}
		cc, exp, err := dialConn(ctx, a, o)
		if err == nil && i > 0 && (exp.size != c.exp.size || exp.flags != c.exp.flags) {
			cc.close()
			err = errors.New("the server described the export differently on a second connection")
		}
		if err != nil {
			c.Close()
			return nil, dr.WithHint(fmt.Errorf("connect to export %q at %s: %w", a.export, a.addr, err), dialKind(err), "")
		}
		c.conns = append(c.conns, cc)
		if i == 0 {
			c.exp = exp
		}
	}
	return c, nil
}

func dialKind(err error) dr.Kind {
	var oe *optionError
	if errors.As(err, &oe) && oe.code == repErrUnknown {
		return dr.KindNotFound
	}
	return dr.KindUnavailable
}

// Close says goodbye to the server and closes the connections. Requests under way fail with ErrClosed.
func (c *Client) Close() error {
	for _, cc := range c.conns {
		cc.close()
	}
	return nil
}

// Size is the size of the export in bytes.
func (c *Client) Size() int64 { return c.exp.size }

// ReadOnly reports whether the server refuses writes.
func (c *Client) ReadOnly() bool { return c.exp.flags&flagReadOnly != 0 }

// Connections is the number of connections in use.
func (c *Client) Connections() int { return len(c.conns) }

// MetaContexts are those of the asked for meta contexts that the server has.
func (c *Client) MetaContexts() []string {
	var names []string
	for name := range c.conns[0].metas {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ReadAt implements io.ReaderAt.
func (c *Client) ReadAt(p []byte, off int64) (int, error) {
	return c.ReadContext(context.Background(), p, off)
}

// ReadContext is ReadAt bounded by ctx. After it returned, p is not written to any more.
func (c *Client) ReadContext(ctx context.Context, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, &Error{Op: "read", Offset: off, Length: int64(len(p)), Errno: syscall.EINVAL}
	}
	if off >= c.exp.size {
		return 0, io.EOF
	}
	var eof error
	if rest := c.exp.size - off; int64(len(p)) > rest {
		p, eof = p[:rest], io.EOF
	}
	if bs := c.exp.minBlock; off%bs != 0 || int64(len(p))%bs != 0 {
		// The server reads whole blocks only.
		start := off / bs * bs
		end := min((off+int64(len(p))+bs-1)/bs*bs, c.exp.size)
		bounce := make([]byte, end-start)
		if err := c.transfer(ctx, cmdRead, bounce, start); err != nil {
			return 0, err
		}
		copy(p, bounce[off-start:])
		return len(p), eof
	}
	if err := c.transfer(ctx, cmdRead, p, off); err != nil {
		return 0, err
	}
	return len(p), eof
}

// WriteAt implements io.WriterAt. Data is durable after the next Flush.
func (c *Client) WriteAt(p []byte, off int64) (int, error) {
	return c.WriteContext(context.Background(), p, off)
}

// WriteContext is WriteAt bounded by ctx. When ctx ends first, it is unknown which parts were written.
func (c *Client) WriteContext(ctx context.Context, p []byte, off int64) (int, error) {
	if err := c.check("write", off, int64(len(p))); err != nil {
		return 0, err
	}
	if err := c.transfer(ctx, cmdWrite, p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// transfer reads or writes p in pieces.
func (c *Client) transfer(ctx context.Context, cmd uint16, p []byte, off int64) error {
	piece := min(pieceLen, c.exp.maxBlock)
	var wait []*call
	var first error
	for len(p) > 0 && first == nil {
		n := min(len(p), piece)
		if len(wait) == window {
			first = wait[0].wait(ctx)
			wait = wait[1:]
		}
		if first == nil {
			wait = append(wait, c.start(ctx, requestHeader{cmd: cmd, off: uint64(off), length: uint32(n)}, p[:n]))
		}
		p, off = p[n:], off+int64(n)
	}
	// Every call is waited for, whatever failed: they refer to the caller's memory.
	for _, cl := range wait {
		if err := cl.wait(ctx); first == nil {
			first = err
		}
	}
	return first
}

// Zero makes a range read as zeros, without sending them when the server can do that.
func (c *Client) Zero(off, n int64) error {
	ctx := context.Background()
	if err := c.check("zero", off, n); err != nil {
		return err
	}
	if c.exp.flags&flagSendWriteZeroes != 0 {
		return c.ranges(ctx, cmdWriteZeroes, off, n)
	}
	zeros := make([]byte, min(n, pieceLen))
	for n > 0 {
		l := min(n, int64(len(zeros)))
		if err := c.transfer(ctx, cmdWrite, zeros[:l], off); err != nil {
			return err
		}
		off, n = off+l, n-l
	}
	return nil
}

// Trim tells the server that a range is not needed any more; what it reads as then is up to the server.
func (c *Client) Trim(off, n int64) error {
	if err := c.check("trim", off, n); err != nil {
		return err
	}
	if c.exp.flags&flagSendTrim == 0 {
		return nil
	}
	return c.ranges(context.Background(), cmdTrim, off, n)
}

// Flush makes all completed writes durable.
func (c *Client) Flush() error {
	if c.exp.flags&flagSendFlush == 0 {
		return nil
	}
	ctx := context.Background()
	return c.start(ctx, requestHeader{cmd: cmdFlush}, nil).wait(ctx)
}

func (c *Client) ranges(ctx context.Context, cmd uint16, off, n int64) error {
	for n > 0 {
		l := min(n, zeroLen)
		if err := c.start(ctx, requestHeader{cmd: cmd, off: uint64(off), length: uint32(l)}, nil).wait(ctx); err != nil {
			return err
		}
		off, n = off+l, n-l
	}
	return nil
}

// BlockStatus returns the state of a range in a meta context that was asked for when dialing: runs that cover the
// range exactly, neighbours of equal flags merged. It fails with ErrNoMetaContext when the server does not have it.
func (c *Client) BlockStatus(ctx context.Context, metaContext string, off, n int64) ([]Run, error) {
	if err := c.check("block status", off, n); err != nil {
		return nil, err
	}
	var runs []Run
	skip, want := off%c.exp.minBlock, n
	off, n = off-skip, n+skip
	if tail := n % c.exp.minBlock; tail != 0 {
		n = min(n+c.exp.minBlock-tail, c.exp.size-off)
	}
	for n > 0 {
		cc := c.pick()
		id, ok := cc.metas[metaContext]
		if !ok {
			return nil, fmt.Errorf("nbd block status: %q: %w", metaContext, ErrNoMetaContext)
		}
		cl := cc.start(ctx, requestHeader{cmd: cmdBlockStatus, off: uint64(off), length: uint32(min(n, statusLen))}, nil)
		if err := cl.wait(ctx); err != nil {
			return nil, err
		}
		before := n
		for _, r := range cl.status[id] {
			if n == 0 {
				break
			}
			r.Length = min(r.Length, n)
			if last := len(runs) - 1; last >= 0 && runs[last].Flags == r.Flags {
				runs[last].Length += r.Length
			} else {
				runs = append(runs, r)
			}
			off, n = off+r.Length, n-r.Length
		}
		if n == before {
			return nil, fmt.Errorf("nbd block status of %q at %d: the server told nothing about it", metaContext, off)
		}
	}
	return clipRuns(runs, skip, want), nil
}

// clipRuns returns the n bytes of runs that follow the first skip bytes.
func clipRuns(runs []Run, skip, n int64) []Run {
	clipped := runs[:0]
	for _, r := range runs {
		cut := min(skip, r.Length)
		skip -= cut
		if r.Length = min(r.Length-cut, n); r.Length > 0 {
			clipped = append(clipped, r)
			n -= r.Length
		}
	}
	return clipped
}

// Extents returns the extents of a range by base:allocation, which must have been asked for when dialing.
func (c *Client) Extents(ctx context.Context, off, n int64) ([]dr.Extent, error) {
	runs, err := c.BlockStatus(ctx, MetaAllocation, off, n)
	if err != nil {
		return nil, err
	}
	var extents []dr.Extent
	for _, r := range runs {
		zero := r.Flags&StateZero != 0
		if last := len(extents) - 1; last >= 0 && extents[last].Zero == zero {
			extents[last].Length += r.Length
		} else {
			extents = append(extents, dr.Extent{Offset: off, Length: r.Length, Zero: zero})
		}
		off += r.Length
	}
	return extents, nil
}

func (c *Client) check(op string, off, n int64) error {
	if off < 0 || n < 0 || off > c.exp.size || n > c.exp.size-off {
		return &Error{Op: op, Offset: off, Length: n, Errno: syscall.EINVAL,
			Msg: fmt.Sprintf("beyond the export's %d bytes", c.exp.size)}
	}
	return nil
}

func (c *Client) pick() *clientConn {
	return c.conns[int(c.next.Add(1)-1)%len(c.conns)]
}

func (c *Client) start(ctx context.Context, h requestHeader, p []byte) *call {
	return c.pick().start(ctx, h, p)
}
