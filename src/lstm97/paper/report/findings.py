"""What was found out about the paper's tasks, in words; the figures are in the records."""

from __future__ import annotations

from collections.abc import Mapping

FINDINGS: Mapping[str, str] = {
    "embedded-reber": (
        "The literal text does not reproduce the paper's rates. Most failures never store the T or P that comes back "
        "before the last symbol: the inner grammar takes all cells, which drift into the flat part of h. When the "
        "outputs see the inputs too, they learn the first-order part of the grammar by themselves, and cells stay "
        "free; what then fails is mostly a logistic output stuck at 0 for a symbol that is possible. The paper's "
        "text and its weight counts exclude such a shortcut. No reading that was tried solves every trial of every "
        "row at the paper's counts."
    ),
    "long-lag": (
        "The error of the network without a cell falls ever more slowly but never levels off, so that the rule for "
        "'stopped falling' just sets when the cell is added. The cell does solve the task, later than in the paper: "
        "at first its state grows through all hundred steps, and the input gate has to close on every symbol of the "
        "middle. With targets at the end only it takes less than the paper reports, but then the outputs of the middle "
        "are never learned, which the paper's criterion asks for."
    ),
    "long-lag-random": (
        "With a target at every step nothing tells the network that the last step has come, since the symbols before "
        "it are random: x and y are wrong targets after every other step, and it would have to count to a hundred. No "
        "trial of the literal text was solved. With a target at the end only, biases and a smaller alpha it is "
        "solved, in more sequences than the paper reports."
    ),
    "distractors": (
        "In the literal text the network soon answers nearly all sequences right, but now and then one is answered "
        "with the opposite symbol, and 10,000 right ones in a row come late or never. Without recurrent connections "
        "in the hidden layer that is gone, and the shorter lags come at the paper's counts; but the paper's weight "
        "counts include these connections."
    ),
    "two-sequences": (
        "Solved in the literal text, near the paper's counts. How often tests are made, which the paper does not say, "
        "moves the first stage's count, since the first test that happens to be passed counts."
    ),
    "two-sequences-noisy": (
        "The shorter lags are solved in less than the paper's counts, with somewhat more wrong test sequences; in the "
        "literal text the longest one was not solved within the cap. The stop rule is read as asking for both its "
        "stages: few wrong sequences and a small mean error."
    ),
    "two-sequences-noisy-targets": (
        "Most trials are solved, at counts that differ widely from trial to trial: with three informative elements "
        "near the paper's mean, with one above it."
    ),
    "adding": (
        "With a logistic output hardly any trial meets the stop rule. At lag 100 all learn the task, but the output's "
        "slope vanishes for targets near 0 and 1; at the longer lags most stay at the level of a constant answer. A "
        "linear output with a bias solves lag 100, but no trial at lag 500; without the bias it solves every lag, the "
        "longer ones in less than the paper reports. The paper's text has a logistic output with a bias."
    ),
    "multiplication": (
        "With a linear output that has no bias the first stop rule is met at about the paper's count and the second "
        "somewhat sooner. In the literal text most trials meet the first one, later than in the paper, and hardly any "
        "the second."
    ),
    "temporal-order-3": (
        "Some trials never learn one of the eight classes, or lose it again; the others take less than the paper "
        "reports. Between the literal and the closest reading there is no difference that so few trials could show."
    ),
}
"""What was found out about a task, by its name."""

COMPARISON_FINDINGS: Mapping[str, str] = {
    "grammar": (
        "As the paper reports of RTRL, some fraction of its trials is solved, and twelve units need far fewer "
        "strings than three. Elman nets, whose errors go back one step, solve none. Recurrent cascade correlation "
        "solves fewer trials than in the paper, those in somewhat fewer presentations; Fahlman's settings for this "
        "grammar are not known here. In the closest reading LSTM is solved more often than any of them and in "
        "fewer strings. In the literal text it is not: RTRL with twelve units is solved more often."
    ),
    "long-lag": (
        "With ten symbols or more neither RTRL nor backpropagation through time solves a trial, whatever alpha, as "
        "the paper says (with a hundred symbols given up after 200,000 sequences here, 5 million there). With "
        "four, the paper's nets, which have no biases, need a larger alpha and more sequences than the paper's; "
        "with biases every trial is solved, in fewer. Ten symbols are not solved with biases either. The chunker "
        "soon passes on just the first and the last symbol. But in the paper's net the one hidden unit of the "
        "upper net tells the lower one hardly anything, since the upper net's outputs see their inputs directly "
        "and do without it; so the lower net does not take over. It does when it learns to predict the upper net's "
        "outputs as well and both have four hidden units."
    ),
    "failing": (
        "The gradient methods and the chunker solve no trial, each with one setting, which was not tuned. "
        "Recurrent cascade correlation solved task 3a in one: a self-recurrent unit can hold a bit through a "
        "hundred steps."
    ),
}
"""What was found out about the methods, by the name of the table that compares them."""
