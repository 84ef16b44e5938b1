package azure

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/netip"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// digest is a short name for something longer.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:6])
}

// clip cuts a text to at most n bytes, at the end of a character.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && text[n]&0xc0 == 0x80 {
		n--
	}
	return text[:n]
}

func decode(resp *http.Response, into any) error { return runtime.UnmarshalAsJSON(resp, into) }

// holds reports whether an address belongs to a subnet.
func (s *Site) holds(ctx context.Context, subnet, address string) bool {
	var v struct {
		Properties struct {
			AddressPrefix   string   `json:"addressPrefix"`
			AddressPrefixes []string `json:"addressPrefixes"`
		} `json:"properties"`
	}
	if err := s.rest.get(ctx, subnet, nil, &v); err != nil {
		return false
	}
	a, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	for _, text := range append(v.Properties.AddressPrefixes, v.Properties.AddressPrefix) {
		if p, err := netip.ParsePrefix(text); err == nil && p.Contains(a) {
			return true
		}
	}
	return false
}
