package pepsim

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/rc4"
	"encoding/binary"
	"errors"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/crypto/md4" //lint:ignore SA1019 NTLM is made of it
)

// The server's side of NTLM version 2, written from [MS-NLMP] and sharing nothing with the client that it judges.

const (
	flagUnicode    = 1 << 0
	flagTarget     = 1 << 2
	flagSign       = 1 << 4
	flagSeal       = 1 << 5
	flagNTLM       = 1 << 9
	flagAlwaysSign = 1 << 15
	flagDomain     = 1 << 16
	flagExtended   = 1 << 19
	flagTargetInfo = 1 << 23
	flag128        = 1 << 29
	flagKeyExch    = 1 << 30
	flag56         = 1 << 31

	offered = flagUnicode | flagTarget | flagSign | flagSeal | flagNTLM | flagAlwaysSign | flagDomain | flagExtended | flagTargetInfo | flag128 | flagKeyExch | flag56
)

var prefix = []byte("NTLMSSP\x00")

// login is one exchange on one connection.
type login struct {
	negotiate, challenge []byte
	nonce                []byte
}

// begin answers a NEGOTIATE message with a challenge.
func (l *login) begin(negotiate []byte, flags uint32) ([]byte, error) {
	if len(negotiate) < 16 || !bytes.HasPrefix(negotiate, append(prefix, 1, 0, 0, 0)) {
		return nil, errors.New("no NEGOTIATE message")
	}
	l.negotiate, l.nonce = negotiate, make([]byte, 8)
	_, _ = rand.Read(l.nonce) // never fails
	target := encode("AZURESTACK")
	pair := func(id uint16, value []byte) []byte {
		out := binary.LittleEndian.AppendUint16(nil, id)
		return append(binary.LittleEndian.AppendUint16(out, uint16(len(value))), value...)
	}
	// 100 ns since 1601, as the host's clock says: with it a client must prove that no message was changed.
	now := binary.LittleEndian.AppendUint64(nil, uint64(time.Now().UnixNano()/100+116444736000000000))
	info := bytes.Join([][]byte{pair(2, target), pair(1, encode("ERCS01")), pair(4, encode("azurestack.local")), pair(7, now), pair(0, nil)}, nil)
	const header = 56
	out := append(bytes.Clone(prefix), 2, 0, 0, 0)
	field := func(length, offset int) {
		out = binary.LittleEndian.AppendUint16(out, uint16(length))
		out = binary.LittleEndian.AppendUint16(out, uint16(length))
		out = binary.LittleEndian.AppendUint32(out, uint32(offset))
	}
	field(len(target), header)
	out = binary.LittleEndian.AppendUint32(out, flags)
	out = append(out, l.nonce...)
	out = append(out, make([]byte, 8)...)
	field(len(info), header+len(target))
	out = append(out, make([]byte, 8)...) // version
	l.challenge = append(append(out, target...), info...)
	return l.challenge, nil
}

// finish checks an AUTHENTICATE message and returns the keys that follow from it. It says nothing of what was wrong.
func (l *login) finish(m []byte, user, domain, password string) (*seal, bool) {
	if l.nonce == nil || len(m) < 88 || !bytes.HasPrefix(m, append(prefix, 3, 0, 0, 0)) {
		return nil, false
	}
	field := func(at int) []byte {
		length, offset := int(binary.LittleEndian.Uint16(m[at:])), int(binary.LittleEndian.Uint32(m[at+4:]))
		if offset < 0 || offset+length > len(m) {
			return nil
		}
		return m[offset : offset+length]
	}
	proof, gotDomain, gotUser, key := field(20), field(28), field(36), field(52)
	if len(proof) < 16+28 || len(key) != 16 || !strings.EqualFold(decodeText(gotUser), user) || !strings.EqualFold(decodeText(gotDomain), domain) {
		return nil, false
	}
	hash := md4.New()
	hash.Write(encode(password))
	owf := mac(hash.Sum(nil), encode(strings.ToUpper(decodeText(gotUser))+decodeText(gotDomain)))
	if !hmac.Equal(mac(owf, append(bytes.Clone(l.nonce), proof[16:]...)), proof[:16]) {
		return nil, false
	}
	exported := crypt(mac(owf, proof[:16]), key)
	// The proof that none of the three messages was changed is made with its own place empty.
	bare := bytes.Clone(m)
	clear(bare[72:88])
	if !hmac.Equal(mac(exported, bytes.Join([][]byte{l.negotiate, l.challenge, bare}, nil)), m[72:88]) {
		return nil, false
	}
	return newSeal(exported), true
}

// seal has the keys of one connection.
type seal struct {
	inSign, outSign   []byte
	inCrypt, outCrypt *rc4.Cipher
	inCount, outCount uint32
}

func newSeal(exported []byte) *seal {
	derive := func(text string) []byte {
		sum := md5.Sum(append(bytes.Clone(exported), text+"\x00"...))
		return sum[:]
	}
	cipher := func(key []byte) *rc4.Cipher {
		c, _ := rc4.NewCipher(key) // 16 bytes are a key
		return c
	}
	const magic = " key magic constant"
	return &seal{inSign: derive("session key to client-to-server signing" + magic), outSign: derive("session key to server-to-client signing" + magic),
		inCrypt: cipher(derive("session key to client-to-server sealing" + magic)), outCrypt: cipher(derive("session key to server-to-client sealing" + magic))}
}

func signed(sign []byte, c *rc4.Cipher, count uint32, plain []byte) []byte {
	number := binary.LittleEndian.AppendUint32(nil, count)
	sum := mac(sign, append(bytes.Clone(number), plain...))[:8]
	c.XORKeyStream(sum, sum)
	return bytes.Join([][]byte{{1, 0, 0, 0}, sum, number}, nil)
}

func (s *seal) open(signature, sealed []byte) ([]byte, bool) {
	plain := make([]byte, len(sealed))
	s.inCrypt.XORKeyStream(plain, sealed)
	ok := hmac.Equal(signed(s.inSign, s.inCrypt, s.inCount, plain), signature)
	s.inCount++
	return plain, ok
}

func (s *seal) close(plain []byte) (signature, sealed []byte) {
	sealed = make([]byte, len(plain))
	s.outCrypt.XORKeyStream(sealed, plain)
	signature = signed(s.outSign, s.outCrypt, s.outCount, plain)
	s.outCount++
	return signature, sealed
}

func mac(key, data []byte) []byte {
	h := hmac.New(md5.New, key)
	h.Write(data)
	return h.Sum(nil)
}

func crypt(key, data []byte) []byte {
	c, _ := rc4.NewCipher(key) // 16 bytes are a key
	out := make([]byte, len(data))
	c.XORKeyStream(out, data)
	return out
}

func encode(text string) []byte {
	var out []byte
	for _, u := range utf16.Encode([]rune(text)) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return out
}

func decodeText(data []byte) string {
	var units []uint16
	for ; len(data) > 1; data = data[2:] {
		units = append(units, binary.LittleEndian.Uint16(data))
	}
	return string(utf16.Decode(units))
}
