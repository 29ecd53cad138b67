// Tlogcheck verifies a tlog-tiles log with Go's own checksum database code: golang.org/x/mod/sumdb/{note,tlog}.
// It knows nothing of Pedigraph but the URL or directory of a log and its verifier key.
//
//	tlogcheck -vkey KEY [-old CHECKPOINT] [-save FILE] [-proofs N] [-seed N] URL|DIR
package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8

func main() {
	vkey := flag.String("vkey", "", "verifier key, or a file that holds it")
	old := flag.String("old", "", "file of an older checkpoint the log must be consistent with")
	save := flag.String("save", "", "file to write the checkpoint to")
	proofs := flag.Int("proofs", 64, "random inclusion proofs to check")
	seed := flag.Int64("seed", 1, "seed of the choice")
	flag.Parse()
	if flag.NArg() != 1 || *vkey == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := check(flag.Arg(0), *vkey, *old, *save, *proofs, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "tlogcheck:", err)
		os.Exit(1)
	}
}

func check(base, vkey, old, save string, proofs int, seed int64) error {
	if text, err := os.ReadFile(vkey); err == nil {
		vkey = string(text)
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(vkey))
	if err != nil {
		return err
	}
	signed, err := read(base, "checkpoint")
	if err != nil {
		return err
	}
	tree, err := open(signed, verifier)
	if err != nil {
		return err
	}
	tiles := &tileReader{base: base}
	hashes := tlog.TileHashReader(tree, tiles)
	if tree.N > 0 {
		root, err := tlog.TreeHash(tree.N, hashes)
		if err != nil {
			return fmt.Errorf("root: %w", err)
		}
		if root != tree.Hash {
			return errors.New("tiles do not lead to the signed root")
		}
	}
	if err := leaves(base, tree, hashes); err != nil {
		return err
	}
	random := rand.New(rand.NewSource(seed))
	for i := 0; i < proofs && tree.N > 0; i++ {
		if err := inclusion(base, tree, hashes, random.Int63n(tree.N)); err != nil {
			return err
		}
	}
	if old != "" {
		if err := consistency(old, verifier, tree, hashes); err != nil {
			return err
		}
	}
	if save != "" {
		if err := os.WriteFile(save, signed, 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("verified %d entries, %d inclusion proofs, root %s\n", tree.N, proofs, tree.Hash)
	return nil
}

// open verifies the signed note and reads its three lines.
func open(signed []byte, verifier note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("checkpoint: %w", err)
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return tlog.Tree{}, fmt.Errorf("checkpoint has %d lines", len(lines)-1)
	}
	if lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("origin %q is not the key's name %q", lines[0], verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, fmt.Errorf("size %q", lines[1])
	}
	hash, err := tlog.ParseHash(lines[2])
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("root: %w", err)
	}
	return tlog.Tree{N: size, Hash: hash}, nil
}

// leaves reads every entry bundle and compares each entry with its leaf in the tiles.
func leaves(base string, tree tlog.Tree, hashes tlog.HashReader) error {
	for first := int64(0); first < tree.N; first += 256 {
		entries, err := bundle(base, first/256, min(256, tree.N-first))
		if err != nil {
			return err
		}
		indexes := make([]int64, len(entries))
		for i := range entries {
			indexes[i] = tlog.StoredHashIndex(0, first+int64(i))
		}
		stored, err := hashes.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for i, entry := range entries {
			if tlog.RecordHash(entry) != stored[i] {
				return fmt.Errorf("entry %d is not the one in the tree", first+int64(i))
			}
		}
	}
	return nil
}

func bundle(base string, number, width int64) ([][]byte, error) {
	path := entryPath(number, width)
	data, err := read(base, path)
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(data) > 0 {
		if len(data) < 2 {
			return nil, fmt.Errorf("%s: ends within a length", path)
		}
		length := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+length {
			return nil, fmt.Errorf("%s: ends within an entry", path)
		}
		entries = append(entries, data[2:2+length])
		data = data[2+length:]
	}
	if int64(len(entries)) != width {
		return nil, fmt.Errorf("%s: %d entries", path, len(entries))
	}
	return entries, nil
}

func entryPath(number, width int64) string {
	tile := tlog.Tile{H: tileHeight, L: -1, N: number, W: int(width)}
	return "tile/entries/" + strings.TrimPrefix(tile.Path(), "tile/8/data/")
}

func inclusion(base string, tree tlog.Tree, hashes tlog.HashReader, index int64) error {
	entries, err := bundle(base, index/256, min(256, tree.N-index/256*256))
	if err != nil {
		return err
	}
	proof, err := tlog.ProveRecord(tree.N, index, hashes)
	if err != nil {
		return fmt.Errorf("proof of %d: %w", index, err)
	}
	return tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entries[index%256]))
}

func consistency(old string, verifier note.Verifier, tree tlog.Tree, hashes tlog.HashReader) error {
	signed, err := os.ReadFile(old)
	if err != nil {
		return err
	}
	before, err := open(signed, verifier)
	if err != nil {
		return err
	}
	if before.N == 0 {
		return nil
	}
	if before.N > tree.N {
		return fmt.Errorf("the log shrank from %d to %d", before.N, tree.N)
	}
	proof, err := tlog.ProveTree(tree.N, before.N, hashes)
	if err != nil {
		return fmt.Errorf("consistency with %d: %w", before.N, err)
	}
	return tlog.CheckTree(proof, tree.N, tree.Hash, before.N, before.Hash)
}

type tileReader struct{ base string }

func (*tileReader) Height() int { return tileHeight }

func (*tileReader) SaveTiles([]tlog.Tile, [][]byte) {}

func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		// tlog-tiles drops the height from the path.
		data, err := read(r.base, "tile/"+strings.TrimPrefix(tile.Path(), "tile/8/"))
		if err != nil {
			return nil, err
		}
		if len(data) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s: %d bytes", tile.Path(), len(data))
		}
		found = append(found, data)
	}
	return found, nil
}

// read fetches a resource of the log from a directory or over HTTP; redirects are refused.
func read(base, path string) ([]byte, error) {
	if !strings.HasPrefix(base, "http") {
		return os.ReadFile(filepath.Join(base, filepath.FromSlash(path)))
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirected") }}
	answer, err := client.Get(strings.TrimSuffix(base, "/") + "/" + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, answer.Status)
	}
	return io.ReadAll(io.LimitReader(answer.Body, 256*65537))
}
