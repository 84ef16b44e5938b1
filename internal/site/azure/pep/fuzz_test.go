package pep

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bodgit/ntlmssp"
	"github.com/google/uuid"
	"github.com/smnsjas/go-psrpcore/fragments"
	"github.com/smnsjas/go-psrpcore/messages"

	"understudy/internal/site"
)

// The readers of what a host says: nothing that it says makes them panic, hang or grow without bounds.

func count(steps []site.Step) (n int) {
	for _, s := range steps {
		n += 1 + count(s.Steps)
	}
	return n
}

func FuzzParse(f *testing.F) {
	f.Add(document)
	f.Add("<a><Step Name='x'><b/><Step Status='Error' StartTimeUtc='2026-11-22T10:00:00'><Message>m</Message></Step></Step></a>")
	f.Add("<Step><Step></a></Step>")
	f.Fuzz(func(t *testing.T, text string) {
		steps, err := Parse(text)
		if err == nil && count(steps) > strings.Count(text, "<") {
			t.Errorf("%d steps", count(steps))
		}
	})
}

func FuzzStream(f *testing.F) {
	whole, err := (&messages.Message{Destination: messages.DestinationClient, Type: messages.MessageTypePipelineState, RunspaceID: uuid.New(),
		Data: []byte(`<Obj RefId="0"><MS><I32 N="PipelineState">4</I32></MS></Obj>`)}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	parts, err := fragments.NewFragmenter(50).Fragment(whole)
	if err != nil {
		f.Fatal(err)
	}
	var seed []byte
	for _, p := range parts {
		b, err := p.Encode()
		if err != nil {
			f.Fatal(err)
		}
		seed = append(seed, b...)
	}
	f.Add(seed, uint8(10))
	f.Add(bytes.Repeat([]byte{0xff}, 40), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, cut uint8) {
		var at, once stream
		said, err := once.add(data)
		n := 0
		for rest := data; ; {
			k := min(int(cut)+1, len(rest))
			some, wrong := at.add(rest[:k])
			n, rest = n+len(some), rest[k:]
			if wrong != nil {
				if err == nil {
					t.Fatalf("in pieces it fails: %v", wrong)
				}
				return
			}
			if len(rest) == 0 {
				break
			}
		}
		if err != nil || n != len(said) {
			t.Fatalf("%d messages in pieces, %d in one: %v", n, len(said), err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`<Obj RefId="0"><TN RefId="0"><T>System.Enum</T></TN><ToString>Running</ToString><I32>1</I32></Obj>`))
	f.Add([]byte(`<Obj RefId="0"><MS><I32 N="RunspaceState">5</I32><Obj N="ExceptionAsErrorRecord" RefId="1"><ToString>x_x000D__x000A_y</ToString></Obj></MS></Obj>`))
	f.Add([]byte("\xef\xbb\xbf<S>_xD83D__xDE00_</S>"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		if object, err := decode(data); err == nil {
			textOf(property(object, "Value"))
			textOf(object)
		}
		_, _, _ = stateOf(data, "PipelineState") // that it returns is all
	})
}

func FuzzUnescape(f *testing.F) {
	f.Add("a_x000D__x000A_b_xD83D__xDE00__x005F_x0041_")
	f.Fuzz(func(t *testing.T, text string) {
		got := unescape(text)
		if !strings.Contains(text, "_x") && got != text || utf8.ValidString(text) && !utf8.ValidString(got) {
			t.Errorf("%q becomes %q", text, got)
		}
	})
}

func TestUnescape(t *testing.T) {
	if got := unescape("a_x000D__x000A_b_xD83D__xDE00__x005F_x0041_ _xZZZZ_"); got != "a\r\nb\U0001F600_x0041_ _xZZZZ_" {
		t.Errorf("%q", got)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(pack([]byte("sealed "+boundary+"--\r\n"), make([]byte, signature), 7+len(boundary)+4))
	f.Add(pack(nil, make([]byte, signature), 0))
	f.Add([]byte(boundary + "\r\n\tContent-Type: application/octet-stream\r\n"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		sealed, mac, err := unpack(frame)
		if err != nil {
			return
		}
		again, same, err := unpack(pack(sealed, mac, len(sealed)))
		if err != nil || !bytes.Equal(again, sealed) || !bytes.Equal(same, mac) {
			t.Errorf("%q does not come back: %q %v", sealed, again, err)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(`<s:Envelope xmlns:s="s"><s:Header><a:RelatesTo xmlns:a="a">uuid:1</a:RelatesTo></s:Header><s:Body><ReceiveResponse><Stream Name="stdout">AAAA</Stream><CommandState State="Done"/></ReceiveResponse></s:Body></s:Envelope>`))
	f.Add([]byte(`<Envelope><Body><Fault><Code><Subcode><Value>w:TimedOut</Value></Subcode></Code><Reason><Text> late </Text></Reason></Fault></Body></Envelope>`))
	f.Fuzz(func(_ *testing.T, envelope []byte) { _, _ = parse(envelope) }) // that it returns is all
}

// FuzzChallenge reads a host's challenge as a login does.
func FuzzChallenge(f *testing.F) {
	head := append([]byte("NTLMSSP\x00\x02\x00\x00\x00"), make([]byte, 44)...)
	binary.LittleEndian.PutUint32(head[20:], ntlmFlags|1<<23)
	binary.LittleEndian.PutUint32(head[44:], 48)
	f.Add(head)
	f.Add(append(bytes.Clone(head), 7, 0, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, token []byte) {
		got, err := challenge(&http.Response{Header: http.Header{"Www-Authenticate": {"Kerberos", negotiate + base64.StdEncoding.EncodeToString(token)}}})
		if err != nil {
			return
		}
		c, err := ntlmssp.NewClient(ntlmssp.SetUserInfo("u", "p"), ntlmssp.SetDomain("d"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Authenticate(nil, nil); err != nil {
			t.Fatal(err)
		}
		_, _ = prove(c, got) // that it returns is all
	})
}
