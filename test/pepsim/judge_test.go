package pepsim

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/crypto/md4" //lint:ignore SA1019 NTLM is made of it

	"understudy/test/need"
)

// asks logs in with Python's WinRM client and sends two envelopes, each sealed. It prints what the host answers.
const asks = `
import sys, winrm
from winrm.protocol import Protocol
p = Protocol(sys.argv[1], transport="ntlm", username=sys.argv[2], password=sys.argv[3], message_encryption="always")
envelope = """<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"><s:Header><a:Action>http://schemas.microsoft.com/wbem/wsman/1/windows/shell/Receive</a:Action>
<w:ResourceURI>%s</w:ResourceURI><a:MessageID>uuid:1</a:MessageID><w:SelectorSet><w:Selector Name="ShellId">ABC</w:Selector></w:SelectorSet></s:Header><s:Body/></s:Envelope>"""
for uri in ("http://schemas.microsoft.com/powershell/Other", "http://schemas.microsoft.com/powershell/PrivilegedEndpoint"):
    try:
        print(p.send_message(envelope % uri))
    except winrm.exceptions.InvalidCredentialsError as e:
        sys.exit("refused: %s" % e)
    except winrm.exceptions.WinRMError as e:
        print(e)
`

// TestAgainstPython has a client that others wrote judge the host's login and its seals: what is tested against the host
// is then tested against more than our reading of the specification.
func TestAgainstPython(t *testing.T) {
	const python = "/usr/bin/python3" // the one that Debian's packages belong to
	if out, err := exec.Command(python, "-c", "import winrm, requests_ntlm").CombinedOutput(); err != nil {
		need.Missing(t, "python3-winrm is not installed: run `make setup`: "+string(out))
	}
	h := Start(t, Options{User: "cloudadmin", Domain: "AZURESTACK", Password: "pässword"}, Play{})
	ask := func(password string) (string, error) {
		// The client takes the password's hash, too: many a Python cannot make it any more.
		hash := md4.New()
		hash.Write(encode(password))
		out, err := exec.Command(python, "-W", "ignore", "-c", asks, "http://"+h.Address+"/wsman", `azurestack\cloudadmin`, fmt.Sprintf("%032d:%x", 0, hash.Sum(nil))).CombinedOutput()
		return string(out), err
	}
	out, err := ask("pässword")
	if err != nil || !strings.Contains(out, "The resource URI http://schemas.microsoft.com/powershell/Other is not known.") || !strings.Contains(out, "ShellId ABC failed") {
		t.Fatalf("%v: %s", err, out)
	}
	if n := h.Counts(); n.Logins != 1 || n.Refused != 0 {
		t.Errorf("%+v", n)
	}
	out, err = ask("wrong")
	if err == nil || !strings.Contains(out, "refused: ") || h.Counts().Logins != 1 {
		t.Errorf("a wrong password: %v: %s", err, out)
	}
}
