"""The answers about all corpora are those of the build from which they were recorded (answers.tsv), or differ for a reason that is given."""

import answers
import pytest

# Why answers may differ from the recorded ones, by question. `python answers.py differ OLD NEW` shows how they do.
DIFFER = {}


@pytest.mark.corpora
def test_answers_are_the_recorded_ones(corpora, nodes, figure):
    names, recorded = answers.read()
    assert len(recorded) > 3_000 and {kind for kind, _ in recorded} == set(names)
    node = nodes()
    answers.load(node, corpora)
    found = answers.answers(node, corpora)
    asked = {question: answers.hash_of(answers.known(answer, names.get(question[0], set()))) for question, answer in found.items()}
    assert not set(recorded) - set(asked), "questions that nobody can ask any more"
    compared = {question: value for question, value in recorded.items() if value != "-" and question not in DIFFER}
    different = sorted(question for question, value in compared.items() if asked[question] != value)
    figure(f"answers about all corpora: {len(compared) - len(different)} of {len(recorded)} as recorded, {len(recorded) - len(compared)} not compared")
    by_kind = {kind: sum(of == kind for of, _ in different) for kind in sorted({kind for kind, _ in different})}
    assert not different, f"{by_kind} differ, such as {different[:20]}; see `python answers.py differ OLD NEW`"
