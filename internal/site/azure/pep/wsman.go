package pep

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/smnsjas/go-psrpcore/fragments"
)

// Envelopes of [MS-WSMV]: a shell is a session of PowerShell, and a command in it one pipeline.
const (
	resource      = "http://schemas.microsoft.com/powershell/PrivilegedEndpoint"
	shellActions  = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/"
	actionCreate  = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Create"
	actionDelete  = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Delete"
	actionCommand = shellActions + "Command"
	actionReceive = shellActions + "Receive"
	actionSignal  = shellActions + "Signal"
	stateDone     = shellActions + "CommandState/Done"
	signalEnd     = shellActions + "signal/Terminate"

	envelopeSize = 512000 // bytes that a host may put into one answer
	codeTimedOut = "2150858793"
	codeDenied   = "5"
)

const envelopeText = `<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing" ` +
	`xmlns:wsman="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" xmlns:wsmv="http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd" ` +
	`xmlns:rsp="http://schemas.microsoft.com/wbem/wsman/1/windows/shell"><s:Header><wsa:Action s:mustUnderstand="true">%s</wsa:Action>` +
	`<wsmv:DataLocale s:mustUnderstand="false" xml:lang="en-US"/><wsman:Locale s:mustUnderstand="false" xml:lang="en-US"/>` +
	`<wsman:MaxEnvelopeSize s:mustUnderstand="true">%d</wsman:MaxEnvelopeSize><wsa:MessageID>uuid:%s</wsa:MessageID>` +
	`<wsman:OperationTimeout>PT%.3fS</wsman:OperationTimeout><wsa:ReplyTo><wsa:Address s:mustUnderstand="true">` +
	`http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</wsa:Address></wsa:ReplyTo>` +
	`<wsman:ResourceURI s:mustUnderstand="true">%s</wsman:ResourceURI><wsmv:SessionId s:mustUnderstand="false">uuid:%s</wsmv:SessionId>` +
	`<wsa:To>%s</wsa:To>%s</s:Header><s:Body>%s</s:Body></s:Envelope>`

// A shell is a session at one host.
type shell struct {
	channel *channel
	id      uuid.UUID // of the shell, and of the pool of runspaces in it
	session uuid.UUID
	wait    time.Duration         // that the host may take to answer, when there is nothing to say
	out     *fragments.Fragmenter // numbers the messages to PowerShell
}

func newShell(ch *channel, c Config) *shell {
	return &shell{channel: ch, id: uuid.New(), session: uuid.New(), wait: c.Patience * 3 / 4}
}

// answer is what an envelope says.
type answer struct {
	RelatesTo string `xml:"Header>RelatesTo"`
	Fault     *struct {
		Subcode string `xml:"Code>Subcode>Value"`
		Reason  string `xml:"Reason>Text"`
		Detail  struct {
			Code    string `xml:"Code,attr"`
			Message struct {
				Text     string `xml:",chardata"`
				Provider string `xml:"ProviderFault"`
			} `xml:"Message"`
		} `xml:"Detail>WSManFault"`
	} `xml:"Body>Fault"`
	Command string `xml:"Body>CommandResponse>CommandId"`
	Streams []struct {
		Name string `xml:"Name,attr"`
		Data string `xml:",chardata"`
	} `xml:"Body>ReceiveResponse>Stream"`
	State struct {
		State string `xml:"State,attr"`
	} `xml:"Body>ReceiveResponse>CommandState"`
}

// A fault is a refusal of WSMan.
type fault struct {
	code, text string
}

func (f *fault) Error() string { return fmt.Sprintf("the host says %s (%s)", f.text, f.code) }

// parse reads an envelope. A fault is an error.
func parse(envelope []byte) (a answer, err error) {
	if err := xml.Unmarshal(envelope, &a); err != nil {
		return a, fmt.Errorf("read the host's answer: %w", err)
	}
	if f := a.Fault; f != nil {
		text := strings.TrimSpace(f.Detail.Message.Text)
		for _, other := range []string{f.Detail.Message.Provider, f.Reason} {
			if text == "" {
				text = strings.TrimSpace(other)
			}
		}
		code := f.Detail.Code
		if code == "" {
			if code = f.Subcode; strings.HasSuffix(code, ":TimedOut") {
				code = codeTimedOut
			}
		}
		return a, &fault{code: code, text: text}
	}
	return a, nil
}

// ask sends one envelope. header are more header elements, and body what is asked.
func (s *shell) ask(ctx context.Context, action, header, body string) (answer, error) {
	id := strings.ToUpper(uuid.NewString())
	reply, err := s.channel.call(ctx, fmt.Appendf(nil, envelopeText, action, envelopeSize, id, s.wait.Seconds(), resource, s.session, escaped(s.channel.url), header, body))
	if err != nil {
		return answer{}, err
	}
	a, err := parse(reply)
	if related := strings.TrimPrefix(a.RelatesTo, "uuid:"); err == nil && !strings.EqualFold(related, id) {
		return a, errors.New("the host answers something else than it was asked")
	}
	return a, err
}

func escaped(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a buffer takes all
	return b.String()
}

func (s *shell) selector() string {
	return fmt.Sprintf(`<wsman:SelectorSet><wsman:Selector Name="ShellId">%s</wsman:Selector></wsman:SelectorSet>`, name(s.id))
}

func option(key, value string) string {
	return fmt.Sprintf(`<wsman:OptionSet s:mustUnderstand="true"><wsman:Option Name="%s">%s</wsman:Option></wsman:OptionSet>`, key, value)
}

// name writes an ID as Windows does.
func name(id uuid.UUID) string { return strings.ToUpper(id.String()) }

// create opens the shell. open is what PowerShell is told to begin with.
func (s *shell) create(ctx context.Context, open []byte) error {
	_, err := s.ask(ctx, actionCreate,
		`<wsman:OptionSet s:mustUnderstand="true"><wsman:Option Name="protocolversion" MustComply="true">2.3</wsman:Option></wsman:OptionSet>`,
		fmt.Sprintf(`<rsp:Shell ShellId="%s"><rsp:InputStreams>stdin pr</rsp:InputStreams><rsp:OutputStreams>stdout</rsp:OutputStreams>`+
			`<creationXml xmlns="http://schemas.microsoft.com/powershell">%s</creationXml></rsp:Shell>`, name(s.id), base64.StdEncoding.EncodeToString(open)))
	return err
}

// command begins a pipeline, and returns the name that the host gives it.
func (s *shell) command(ctx context.Context, id uuid.UUID, pipeline []byte) (string, error) {
	a, err := s.ask(ctx, actionCommand, option("WINRS_SKIP_CMD_SHELL", "False")+s.selector(),
		fmt.Sprintf(`<rsp:CommandLine CommandId="%s"><rsp:Command/><rsp:Arguments>%s</rsp:Arguments></rsp:CommandLine>`, name(id), base64.StdEncoding.EncodeToString(pipeline)))
	if err == nil && a.Command == "" {
		err = errors.New("the host does not name the command that it began")
	}
	return a.Command, err
}

// receive returns what the shell, or a command in it, has to say, and whether that is all. It is nothing when there was
// nothing for a while.
func (s *shell) receive(ctx context.Context, command string) (data []byte, done bool, err error) {
	of := ""
	if command != "" {
		of = fmt.Sprintf(` CommandId="%s"`, escaped(command))
	}
	a, err := s.ask(ctx, actionReceive, option("WSMAN_CMDSHELL_OPTION_KEEPALIVE", "True")+s.selector(),
		fmt.Sprintf(`<rsp:Receive><rsp:DesiredStream%s>stdout</rsp:DesiredStream></rsp:Receive>`, of))
	var f *fault
	if errors.As(err, &f) && f.code == codeTimedOut {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	for _, stream := range a.Streams {
		part, err := base64.StdEncoding.DecodeString(strings.TrimSpace(stream.Data))
		if err != nil {
			return nil, false, fmt.Errorf("read stream %s: %w", stream.Name, err)
		}
		data = append(data, part...)
	}
	return data, a.State.State == stateDone, nil
}

// signal has the host forget a command that ended. It may have done so already.
func (s *shell) signal(ctx context.Context, command string) error {
	_, err := s.ask(ctx, actionSignal, s.selector(), fmt.Sprintf(`<rsp:Signal CommandId="%s"><rsp:Code>%s</rsp:Code></rsp:Signal>`, escaped(command), signalEnd))
	var f *fault
	if errors.As(err, &f) {
		return nil
	}
	return err
}

// remove ends the shell.
func (s *shell) remove(ctx context.Context) error {
	_, err := s.ask(ctx, actionDelete, s.selector(), "")
	return err
}
