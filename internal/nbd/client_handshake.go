package nbd

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// exportInfo is what the handshake told about an export.
type exportInfo struct {
	size     int64
	flags    uint16
	minBlock int64 // at least 1
	maxBlock int
}

// optionError is an error reply to an option.
type optionError struct {
	option uint32
	code   uint32
	msg    string
}

func (e *optionError) Error() string {
	why := map[uint32]string{
		repErrUnsup:    "not supported by the server",
		repErrPolicy:   "forbidden by the server",
		repErrInvalid:  "refused as invalid",
		repErrPlatform: "not supported on the server's platform",
		repErrTLSReqd:  "the server requires TLS",
		repErrUnknown:  "no such export",
		repErrShutdown: "the server is shutting down",
		repErrTooBig:   "request too big for the server",
	}[e.code]
	if why == "" {
		why = fmt.Sprintf("error %#x", e.code)
	}
	if e.msg != "" {
		why += ": " + e.msg
	}
	return why
}

// dialConn connects and negotiates one connection up to the transmission phase.
func dialConn(ctx context.Context, a address, o DialOptions) (*clientConn, exportInfo, error) {
	h, err := dialHandshake(ctx, a, o)
	if err != nil {
		return nil, exportInfo{}, err
	}
	defer h.stop()
	exp, metas, structured, err := h.open(a.export, o.MetaContexts)
	if err == nil && !h.stop() {
		err = ctx.Err()
	}
	if err != nil {
		h.conn.Close()
		return nil, exportInfo{}, ctxError(ctx, err)
	}
	cc := newClientConn(h.conn, h.br, structured)
	cc.metas = metas
	return cc, exp, nil
}

// List returns the names of the exports of a server; the export in uri does not matter.
func List(ctx context.Context, uri string, o DialOptions) ([]string, error) {
	a, err := parseURI(uri)
	if err != nil {
		return nil, err
	}
	h, err := dialHandshake(ctx, a, o)
	if err != nil {
		return nil, fmt.Errorf("list exports at %s: %w", a.addr, err)
	}
	defer h.conn.Close()
	defer h.stop()
	var names []string
	err = h.option(optList, nil, func(kind uint32, data []byte) error {
		name, _, ok := cutString(data)
		if kind != repServer || !ok {
			return errors.New("malformed list")
		}
		names = append(names, name)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list exports at %s: %w", a.addr, ctxError(ctx, err))
	}
	// The answer does not matter: the connection ends here either way.
	_ = h.send(optAbort, nil)
	return names, nil
}

// clientHandshake is a connection in the option phase.
type clientHandshake struct {
	conn net.Conn
	br   *bufio.Reader
	stop func() bool // ends the watch over ctx; false when ctx ended before
}

// dialHandshake connects, and goes over to TLS when the address asks for it.
func dialHandshake(ctx context.Context, a address, o DialOptions) (*clientHandshake, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, a.network, a.addr)
	if err != nil {
		return nil, err
	}
	h := &clientHandshake{conn: conn, br: bufio.NewReaderSize(conn, 64<<10)}
	// A deadline in the past wakes whoever waits for the server.
	h.stop = context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err = h.greet()
	if err == nil && a.tls {
		err = h.startTLS(ctx, a, o.TLS)
	}
	if err != nil {
		h.stop()
		conn.Close()
		return nil, ctxError(ctx, err)
	}
	return h, nil
}

func (h *clientHandshake) greet() error {
	var b [18]byte
	if _, err := io.ReadFull(h.br, b[:]); err != nil {
		return fmt.Errorf("read greeting: %w", noEOF(err))
	}
	if be.Uint64(b[:]) != magicInit || be.Uint64(b[8:]) != magicOption {
		return errors.New("this is no server of the newstyle NBD protocol")
	}
	flags := be.Uint16(b[16:])
	if flags&flagFixedNewstyle == 0 {
		return errors.New("the server does not speak the fixed newstyle NBD protocol")
	}
	return writeAll(h.conn, be.AppendUint32(nil, uint32(flags&(flagFixedNewstyle|flagNoZeroes))))
}

func (h *clientHandshake) startTLS(ctx context.Context, a address, config *tls.Config) error {
	if err := h.option(optStartTLS, nil, nil); err != nil {
		return fmt.Errorf("start TLS: %w", err)
	}
	if h.br.Buffered() > 0 {
		return errors.New("start TLS: the server sent data outside of TLS")
	}
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if config.ServerName == "" && !config.InsecureSkipVerify {
		config = config.Clone()
		config.ServerName = a.host
	}
	conn := tls.Client(h.conn, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("start TLS: %w", err)
	}
	h.conn, h.br = conn, bufio.NewReaderSize(conn, 64<<10)
	return nil
}

// open negotiates structured replies and meta contexts and enters the transmission phase.
func (h *clientHandshake) open(export string, metas []string) (exp exportInfo, ids map[string]uint32, structured bool, err error) {
	var oe *optionError
	switch err = h.option(optStructuredReply, nil, nil); {
	case err == nil:
		structured = true
	case !errors.As(err, &oe):
		return exp, nil, false, err
	}
	ids = map[string]uint32{}
	if structured && len(metas) > 0 {
		if ids, err = h.setMetas(export, metas); err != nil {
			return exp, nil, false, fmt.Errorf("ask for meta contexts: %w", err)
		}
	}
	exp, err = h.goExport(export)
	return exp, ids, structured, err
}

func (h *clientHandshake) setMetas(export string, metas []string) (map[string]uint32, error) {
	ids := map[string]uint32{}
	data := appendString(nil, export)
	data = be.AppendUint32(data, uint32(len(metas)))
	for _, m := range metas {
		data = appendString(data, m)
	}
	err := h.option(optSetMetaContext, data, func(kind uint32, data []byte) error {
		if kind != repMetaContext || len(data) < 4 || len(ids) == len(metas) {
			return errors.New("malformed reply")
		}
		ids[string(data[4:])] = be.Uint32(data)
		return nil
	})
	var oe *optionError
	if errors.As(err, &oe) && oe.code != repErrUnknown {
		// A server that has no meta contexts is good enough to read from.
		return map[string]uint32{}, nil
	}
	return ids, err
}

func (h *clientHandshake) goExport(export string) (exportInfo, error) {
	exp := exportInfo{size: -1, minBlock: 1, maxBlock: maxPayload}
	data := appendString(nil, export)
	data = be.AppendUint16(data, 1)
	data = be.AppendUint16(data, infoBlockSize)
	err := h.option(optGo, data, func(kind uint32, data []byte) error {
		if kind != repInfo || len(data) < 2 {
			return errors.New("malformed reply")
		}
		switch be.Uint16(data) {
		case infoExport:
			if len(data) != 12 {
				return errors.New("malformed export information")
			}
			exp.size, exp.flags = int64(be.Uint64(data[2:])), be.Uint16(data[10:])
			if exp.size < 0 {
				return fmt.Errorf("the export's size %d is too big", uint64(exp.size))
			}
		case infoBlockSize:
			if len(data) != 14 {
				return errors.New("malformed block size information")
			}
			least, most := be.Uint32(data[2:]), be.Uint32(data[10:])
			if least == 0 || least > 64<<10 || least&(least-1) != 0 || most < least {
				return fmt.Errorf("the server's block sizes %d to %d make no sense", least, most)
			}
			exp.minBlock = int64(least)
			exp.maxBlock = int(min(most, maxPayload) / least * least)
		}
		return nil
	})
	if err == nil && exp.size < 0 {
		err = errors.New("the server did not tell the export's size")
	}
	return exp, err
}

// option sends an option and handles its replies until the last; reply is called for all but that.
func (h *clientHandshake) option(option uint32, data []byte, reply func(kind uint32, data []byte) error) error {
	if err := h.send(option, data); err != nil {
		return err
	}
	// A server that never comes to an end is cut off.
	for range 64 << 10 {
		kind, data, err := readOptionReply(h.br, option)
		switch {
		case err != nil:
			return err
		case kind&repErrBit != 0:
			return &optionError{option: option, code: kind, msg: printable(data)}
		case kind == repAck:
			return nil
		case reply == nil:
			return fmt.Errorf("unexpected reply %#x to option %d", kind, option)
		}
		if err := reply(kind, data); err != nil {
			return err
		}
	}
	return fmt.Errorf("too many replies to option %d", option)
}

func (h *clientHandshake) send(option uint32, data []byte) error {
	b := be.AppendUint64(nil, magicOption)
	b = be.AppendUint32(b, option)
	b = be.AppendUint32(b, uint32(len(data)))
	return writeAll(h.conn, append(b, data...))
}

func readOptionReply(r io.Reader, option uint32) (kind uint32, data []byte, err error) {
	var b [20]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, nil, fmt.Errorf("read reply to option %d: %w", option, noEOF(err))
	}
	if be.Uint64(b[:]) != magicOptReply {
		return 0, nil, fmt.Errorf("reply to option %d has magic %#x", option, be.Uint64(b[:]))
	}
	if got := be.Uint32(b[8:]); got != option {
		return 0, nil, fmt.Errorf("reply to option %d where %d was asked", got, option)
	}
	n := be.Uint32(b[16:])
	if n > maxOptData {
		return 0, nil, fmt.Errorf("reply to option %d has %d bytes", option, n)
	}
	data = make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return 0, nil, fmt.Errorf("read reply to option %d: %w", option, noEOF(err))
	}
	return be.Uint32(b[12:]), data, nil
}

func writeAll(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}

// noEOF turns the end of the stream into an error that nobody takes for the regular end of a disk.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ctxError prefers the error of a context that ended over the deadline error by which it shows.
func ctxError(ctx context.Context, err error) error {
	if cerr := ctx.Err(); cerr != nil {
		return cerr
	}
	return err
}

// printable keeps a message from the other side harmless in logs and on terminals.
func printable(b []byte) string {
	r := []rune(string(b[:min(len(b), maxNameLen)]))
	for i := range r {
		if r[i] < ' ' || r[i] == 0x7f {
			r[i] = '.'
		}
	}
	return string(r)
}
