package nbd

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	// maxOptions bounds how many options a client may try before it chooses an export.
	maxOptions = 4096
	// maxQueries bounds the meta contexts in one option.
	maxQueries = 1024
	// allocationID is the ID by which base:allocation goes in the transmission phase.
	allocationID = 1
)

// errAborted says that the client ended the handshake in good order.
var errAborted = errors.New("aborted by the client")

// serverHandshake is the state of the option phase.
type serverHandshake struct {
	c          *serverConn
	noZeroes   bool
	secure     bool
	structured bool
	metaFor    string // export that base:allocation was chosen for
	meta       bool
}

// handshake serves options until the client has chosen an export.
func (c *serverConn) handshake() error {
	h := &serverHandshake{c: c}
	b := be.AppendUint64(nil, magicInit)
	b = be.AppendUint64(b, magicOption)
	b = be.AppendUint16(b, flagFixedNewstyle|flagNoZeroes)
	if err := writeAll(c.nc, b); err != nil {
		return err
	}
	var fb [4]byte
	if _, err := io.ReadFull(c.br, fb[:]); err != nil {
		return err
	}
	flags := be.Uint32(fb[:])
	if flags&^(flagFixedNewstyle|flagNoZeroes) != 0 || flags&flagFixedNewstyle == 0 {
		return fmt.Errorf("client flags %#x", flags)
	}
	h.noZeroes = flags&flagNoZeroes != 0
	for range maxOptions {
		option, data, err := h.readOption()
		if err != nil {
			return err
		}
		if data == nil {
			continue // answered already
		}
		done, err := h.handle(option, data)
		if err != nil {
			return err
		}
		if done {
			c.structured = h.structured
			c.meta = h.meta && h.metaFor == c.export.Name
			return nil
		}
	}
	return errors.New("too many options")
}

// readOption reads an option. One that is too long is refused here: data is nil then.
func (h *serverHandshake) readOption() (option uint32, data []byte, err error) {
	var b [16]byte
	if _, err := io.ReadFull(h.c.br, b[:]); err != nil {
		return 0, nil, err
	}
	if m := be.Uint64(b[:]); m != magicOption {
		return 0, nil, fmt.Errorf("option magic %#x", m)
	}
	option = be.Uint32(b[8:])
	n := be.Uint32(b[12:])
	switch {
	case n > 16*maxOptData || n > maxOptData && option == optExportName:
		return 0, nil, fmt.Errorf("option %d of %d bytes", option, n)
	case n > maxOptData:
		if _, err := io.CopyN(io.Discard, h.c.br, int64(n)); err != nil {
			return 0, nil, err
		}
		return option, nil, h.refuse(option, repErrTooBig, "option too long")
	}
	data = make([]byte, n)
	_, err = io.ReadFull(h.c.br, data)
	return option, data, err
}

// handle answers one option; done says that the transmission phase begins.
func (h *serverHandshake) handle(option uint32, data []byte) (done bool, err error) {
	if h.c.s.o.TLS != nil && !h.secure && option != optStartTLS && option != optAbort {
		if option == optExportName {
			return false, errors.New("client does not use TLS")
		}
		return false, h.refuse(option, repErrTLSReqd, "this server requires TLS")
	}
	switch option {
	case optExportName:
		return true, h.exportName(string(data))
	case optAbort:
		// The client need not wait for this.
		_ = h.reply(option, repAck, nil)
		return false, errAborted
	case optList:
		return false, h.list(data)
	case optStartTLS:
		return false, h.startTLS(data)
	case optInfo, optGo:
		return h.info(option, data)
	case optStructuredReply:
		if len(data) != 0 {
			return false, h.refuse(option, repErrInvalid, "unexpected data")
		}
		h.structured = true
		return false, h.reply(option, repAck, nil)
	case optListMetaContext, optSetMetaContext:
		return false, h.metaContext(option, data)
	}
	return false, h.refuse(option, repErrUnsup, "unknown option")
}

func (h *serverHandshake) reply(option, kind uint32, data []byte) error {
	b := be.AppendUint64(nil, magicOptReply)
	b = be.AppendUint32(b, option)
	b = be.AppendUint32(b, kind)
	b = be.AppendUint32(b, uint32(len(data)))
	return writeAll(h.c.nc, append(b, data...))
}

func (h *serverHandshake) refuse(option, kind uint32, msg string) error {
	return h.reply(option, kind, []byte(msg))
}

// exportName is the old way in, which knows no error reply.
func (h *serverHandshake) exportName(name string) error {
	e, err := h.c.s.attach(h.c, name)
	if err != nil {
		return err
	}
	b := be.AppendUint64(nil, uint64(e.size))
	b = be.AppendUint16(b, e.flagsFor(h.structured))
	if !h.noZeroes {
		b = append(b, make([]byte, 124)...)
	}
	return writeAll(h.c.nc, b)
}

// flagsFor are the transmission flags for a client with or without structured replies: only those can be unfragmented.
func (e *export) flagsFor(structured bool) uint16 {
	flags := e.flags()
	if !structured {
		flags &^= flagSendDF
	}
	return flags
}

func (h *serverHandshake) list(data []byte) error {
	if len(data) != 0 {
		return h.refuse(optList, repErrInvalid, "unexpected data")
	}
	for _, e := range h.c.s.list() {
		if err := h.reply(optList, repServer, append(appendString(nil, e.Name), e.Description...)); err != nil {
			return err
		}
	}
	return h.reply(optList, repAck, nil)
}

func (h *serverHandshake) startTLS(data []byte) error {
	config := h.c.s.o.TLS
	switch {
	case len(data) != 0:
		return h.refuse(optStartTLS, repErrInvalid, "unexpected data")
	case config == nil:
		return h.refuse(optStartTLS, repErrUnsup, "TLS is not configured")
	case h.secure:
		return h.refuse(optStartTLS, repErrInvalid, "TLS is in use already")
	}
	if err := h.reply(optStartTLS, repAck, nil); err != nil {
		return err
	}
	if h.c.br.Buffered() > 0 {
		// Whoever wrote that may not be who speaks TLS.
		return errors.New("data before the TLS handshake")
	}
	conn := tls.Server(h.c.nc, config)
	// The deadline of the handshake bounds this.
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	h.c.nc, h.c.br = conn, bufio.NewReaderSize(conn, readerLen)
	h.secure, h.structured, h.meta = true, false, false
	return nil
}

// info answers INFO and GO.
func (h *serverHandshake) info(option uint32, data []byte) (done bool, err error) {
	name, rest, ok := cutString(data)
	if !ok || len(rest) < 2 || len(rest) != 2+2*int(be.Uint16(rest)) {
		return false, h.refuse(option, repErrInvalid, "malformed request")
	}
	if len(name) > maxNameLen {
		return false, h.refuse(option, repErrInvalid, "name too long")
	}
	var e *export
	if option == optGo {
		e, err = h.c.s.attach(h.c, name)
	} else {
		e, err = h.c.s.find(name)
	}
	if err != nil {
		return false, h.refuse(option, repErrUnknown, err.Error())
	}
	infos := [][]byte{
		be.AppendUint16(be.AppendUint64(be.AppendUint16(nil, infoExport), uint64(e.size)), e.flagsFor(h.structured)),
		be.AppendUint32(be.AppendUint32(be.AppendUint32(be.AppendUint16(nil, infoBlockSize), 1), 4096), maxPayload),
	}
	asked := map[uint16]bool{}
	for rest = rest[2:]; len(rest) > 0; rest = rest[2:] {
		asked[be.Uint16(rest)] = true
	}
	if asked[infoName] {
		infos = append(infos, append(be.AppendUint16(nil, infoName), name...))
	}
	if asked[infoDescription] && e.Description != "" {
		infos = append(infos, append(be.AppendUint16(nil, infoDescription), e.Description...))
	}
	for _, b := range infos {
		if err := h.reply(option, repInfo, b); err != nil {
			return false, err
		}
	}
	return option == optGo, h.reply(option, repAck, nil)
}

// metaContext answers LIST_META_CONTEXT and SET_META_CONTEXT.
func (h *serverHandshake) metaContext(option uint32, data []byte) error {
	set := option == optSetMetaContext
	if set {
		h.meta = false // whatever comes of it, the choice before is forgotten
	}
	if !h.structured {
		return h.refuse(option, repErrInvalid, "structured replies come first")
	}
	name, rest, ok := cutString(data)
	if !ok || len(rest) < 4 || len(name) > maxNameLen {
		return h.refuse(option, repErrInvalid, "malformed request")
	}
	count := be.Uint32(rest)
	if count > maxQueries {
		return h.refuse(option, repErrTooBig, "too many meta contexts")
	}
	match := count == 0 && !set
	rest = rest[4:]
	for range count {
		var query string
		if query, rest, ok = cutString(rest); !ok || len(query) > maxNameLen || !strings.Contains(query, ":") {
			return h.refuse(option, repErrInvalid, "malformed meta context")
		}
		match = match || query == MetaAllocation || !set && query == "base:"
	}
	if len(rest) != 0 {
		return h.refuse(option, repErrInvalid, "malformed request")
	}
	e, err := h.c.s.find(name)
	if err != nil {
		return h.refuse(option, repErrUnknown, err.Error())
	}
	if match {
		id := uint32(0)
		if set {
			id = allocationID
			h.meta, h.metaFor = true, e.Name
		}
		if err := h.reply(option, repMetaContext, append(be.AppendUint32(nil, id), MetaAllocation...)); err != nil {
			return err
		}
	}
	return h.reply(option, repAck, nil)
}
