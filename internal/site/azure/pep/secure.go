package pep

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bodgit/ntlmssp"
)

// What is sent is sealed with the keys that NTLM made: [MS-WSMV] 2.2.9.1. The port itself is plain HTTP.
const (
	sealedType  = `multipart/encrypted;protocol="application/HTTP-SPNEGO-session-encrypted";boundary="Encrypted Boundary"`
	boundary    = "--Encrypted Boundary"
	plainType   = "application/soap+xml;charset=UTF-8"
	negotiate   = "Negotiate "
	answerLimit = 4 << 20 // bytes of one answer; the envelopes that are asked for are an eighth of it
	dialTime    = 3 * time.Second
	signature   = 16 // bytes
)

// Flags of [MS-NLMP] 2.2.2.5 that a host must grant: without them others could read, or write, what is said.
const ntlmFlags = 1<<4 | 1<<5 | 1<<19 | 1<<29 | 1<<30 // sign, seal, extended session security, 128 bits, key exchange

var (
	errRefused = errors.New("the user or the password is refused")
	errDropped = errors.New("the connection was dropped and its session with it")
)

// A channel is one authenticated connection to a host. What is sealed has a sequence, so it serves one request at a time.
type channel struct {
	url     string
	http    *http.Client
	session *ntlmssp.SecuritySession
}

// openChannel connects and logs in. Login belongs to the connection: there is one, and it is never replaced.
func openChannel(ctx context.Context, host string, c Config, password string) (*channel, error) {
	dialer := &net.Dialer{Timeout: min(dialTime, c.Patience)}
	var dialed atomic.Bool
	transport := &http.Transport{MaxConnsPerHost: 1, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if !dialed.CompareAndSwap(false, true) {
			return nil, errDropped
		}
		return dialer.DialContext(ctx, network, address)
	}}
	ch := &channel{url: "http://" + host + "/wsman", http: &http.Client{Transport: transport, Timeout: c.Patience}}
	if err := ch.login(ctx, c.User, password); err != nil {
		ch.close()
		return nil, err
	}
	return ch, nil
}

func (ch *channel) close() { ch.http.CloseIdleConnections() }

// login does the three steps of NTLM. The requests have no body: what is said needs the keys first.
func (ch *channel) login(ctx context.Context, user, password string) error {
	domain, name, ok := strings.Cut(user, `\`)
	if !ok {
		domain, name = "", user
	}
	client, err := ntlmssp.NewClient(ntlmssp.SetUserInfo(name, password), ntlmssp.SetDomain(domain))
	if err != nil {
		return err
	}
	first, err := client.Authenticate(nil, nil)
	if err != nil {
		return err
	}
	resp, _, err := ch.post(ctx, nil, "", negotiate+base64.StdEncoding.EncodeToString(first))
	if err != nil {
		return err
	}
	challenge, err := challenge(resp)
	if err != nil {
		return err
	}
	proof, err := prove(client, challenge)
	if err != nil {
		return err
	}
	resp, _, err = ch.post(ctx, nil, "", negotiate+base64.StdEncoding.EncodeToString(proof))
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusUnauthorized:
		return errRefused
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("log in: the host answers %s", resp.Status)
	}
	ch.session = client.SecuritySession()
	return nil
}

// challenge finds the host's challenge in its answer, and sees that it grants what is needed.
func challenge(resp *http.Response) ([]byte, error) {
	for _, h := range resp.Header.Values("WWW-Authenticate") {
		text, ok := strings.CutPrefix(h, negotiate)
		if !ok {
			continue
		}
		token, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil || len(token) < 32 || !bytes.HasPrefix(token, []byte("NTLMSSP\x00\x02")) {
			return nil, errors.New("log in: the host's challenge is not NTLM's")
		}
		if flags := binary.LittleEndian.Uint32(token[20:]); flags&ntlmFlags != ntlmFlags {
			return nil, fmt.Errorf("log in: the host does not offer 128-bit sealing (flags %#x)", flags)
		}
		return token, nil
	}
	return nil, fmt.Errorf("log in: the host answers %s and offers no NTLM", resp.Status)
}

// prove answers a challenge. The parser of others' bytes is not ours: what it cannot take is an error here.
func prove(client *ntlmssp.Client, challenge []byte) (proof []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("log in: the host's challenge cannot be read: %v", r)
		}
	}()
	return client.Authenticate(challenge, nil)
}

// call sends an envelope and returns the one that answers it, which may be a fault.
func (ch *channel) call(ctx context.Context, envelope []byte) ([]byte, error) {
	sealed, mac, err := ch.session.Wrap(envelope)
	if err != nil {
		return nil, err
	}
	resp, body, err := ch.post(ctx, pack(sealed, mac, len(envelope)), sealedType, "")
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusUnauthorized {
		return nil, errDropped
	}
	sealed, mac, err = unpack(body)
	if err != nil {
		return nil, fmt.Errorf("the host answers %s: %w", resp.Status, err)
	}
	return ch.session.Unwrap(sealed, mac)
}

func (ch *channel) post(ctx context.Context, body []byte, contentType, authorization string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, ch.url, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", plainType)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := ch.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	err = errors.Join(err, resp.Body.Close())
	if err == nil && len(data) > answerLimit {
		err = fmt.Errorf("the host's answer has more than %d bytes", answerLimit)
	}
	return resp, data, err
}

// pack frames a sealed envelope of length bytes.
func pack(sealed, mac []byte, length int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\r\n\tContent-Type: application/HTTP-SPNEGO-session-encrypted\r\n\tOriginalContent: type=%s;Length=%d\r\n", boundary, plainType, length)
	fmt.Fprintf(&b, "%s\r\n\tContent-Type: application/octet-stream\r\n", boundary)
	b.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(mac))))
	b.Write(mac)
	b.Write(sealed)
	b.WriteString(boundary + "--\r\n")
	return b.Bytes()
}

// unpack takes a sealed envelope out of its frame. The length that is told decides where it ends: sealed bytes may look
// like a boundary.
func unpack(frame []byte) (sealed, mac []byte, err error) {
	bad := errors.New("what it says is not sealed as it should be")
	head, rest, ok := bytes.Cut(frame, []byte(boundary+"\r\n\tContent-Type: application/octet-stream\r\n"))
	_, text, told := bytes.Cut(head, []byte("Length="))
	if !ok || !told {
		return nil, nil, bad
	}
	digits, _, _ := bytes.Cut(text, []byte("\r\n"))
	length, err := strconv.Atoi(strings.TrimSpace(string(digits)))
	if err != nil || length < 0 || len(rest) < 4+signature || binary.LittleEndian.Uint32(rest) != signature || length > len(rest)-4-signature {
		return nil, nil, bad
	}
	mac, sealed, rest = rest[4:4+signature], rest[4+signature:4+signature+length], rest[4+signature+length:]
	if !bytes.HasPrefix(bytes.TrimLeft(rest, "\r\n"), []byte(boundary+"--")) {
		return nil, nil, bad
	}
	return sealed, mac, nil
}
