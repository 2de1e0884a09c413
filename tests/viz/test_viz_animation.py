"""Every number that an animation shows, against NumPy loops over the definition; and the files, by opening them."""

import json
import re
import shutil
import subprocess

import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from PIL import Image

from jaxcnn import textbook
from jaxcnn.viz.animation import Animation, slide, slide_backward, slide_max_pool, slide_transpose
from jaxcnn.viz.animation.frame import number
from jaxcnn.viz.animation.sliding import NEW, SEEN
from jaxcnn.viz.style import BLUE

X = np.array([[7, 2, 3, 3, 8], [4, 5, 3, 8, 4], [3, 3, 2, 8, 4], [2, 8, 7, 2, 7], [5, 4, 4, 5, 4]])
W = np.array([[1, 2, 0], [0, -1, 1], [3, 0, -2]])
DY = np.array([[1, 0, -1], [2, 1, 0], [0, -2, 1]])
RNG = np.random.default_rng(0)
VOLUME, FILTERS = RNG.integers(0, 6, (5, 5, 3)), RNG.integers(-2, 3, (3, 3, 3, 2))

SLIDES = {
    "valid": (X, W, {}),
    "same": (X, W, {"padding": "SAME"}),
    "full": (X, W[:2, :2], {"padding": "FULL"}),
    "stride": (X, W, {"padding": "SAME", "stride": 2}),
    "dilation": (X, W, {"padding": 1, "dilation": 2}),
    "channels": (VOLUME, FILTERS, {"stride": 2}),
}


def written(values):
    """The texts of a grid that holds these numbers."""
    return [[number(float(value)) for value in row] for row in values]


def marked(grid, color):
    return {cell for cell, mark in grid.marks.items() if mark == color}


@pytest.fixture(scope="module", params=SLIDES)
def slid(request):
    """An animation of `slide`, its image (H, W, C), filters (kh, kw, C, D) and geometry."""
    x, w, options = SLIDES[request.param]
    x, w = x.reshape(*x.shape[:2], -1), w.reshape(*w.shape[:2], *(w.shape[2:] or (1, 1)))
    s, d = options.get("stride", 1), options.get("dilation", 1)
    padding = options.get("padding", "VALID")
    pads = tuple(
        (padding, padding) if isinstance(padding, int) else oracles.pads_for(padding, n, k, s, d)
        for n, k in zip(x.shape[:2], w.shape[:2], strict=True)
    )
    return slide(*SLIDES[request.param][:2], **options), x, w, s, d, pads, options


@pytest.fixture(scope="module")
def valid():
    return slide(X, W)


@pytest.fixture(scope="module")
def backward():
    return slide_backward(X, W, DY)


def test_each_frame_of_slide_holds_its_window_products_sums_and_output(slid):
    animation, x, w, s, d, pads, _ = slid
    y = oracles.conv(x[None], w, s, pads, d)[0]
    several, filters = x.shape[2] > 1, y.shape[2]
    positions = [(f, i, j) for f in range(filters) for i in range(y.shape[0]) for j in range(y.shape[1])]
    assert len(animation.frames) == len(positions)
    x_title = "x, zeros around it" if any(map(any, pads)) else "x"
    for frame, (f, i, j) in zip(animation.frames, positions, strict=True):
        total = 0
        for c in range(x.shape[2]):
            end = f", channel {c}" * several
            image, products, sums = frame[x_title + end], frame[f"products{end}"], frame[f"sum so far{end}"]
            taps = set()
            for a, b in np.ndindex(w.shape[:2]):
                row, column = i * s + a * d - pads[0][0], j * s + b * d - pads[1][0]
                inside = 0 <= row < x.shape[0] and 0 <= column < x.shape[1]
                pixel = x[row, column, c] if inside else 0
                cell = row + pads[0][0], column + pads[1][0]
                assert image.texts[cell[0]][cell[1]] == number(pixel)
                assert (cell in image.faint) is not inside
                total += pixel * w[a, b, c, f]
                assert products.texts[a][b] == number(pixel * w[a, b, c, f])
                assert sums.texts[a][b] == number(total)
                taps.add(cell)
            assert marked(image, SEEN) == taps
            assert frame[f"w{end}"].texts == written(w[:, :, c, f])
        out = frame[f"y, filter {f}" if filters > 1 else "y"]
        assert out.texts[i][j] == number(total) == number(y[i, j, f])
        assert marked(out, NEW) == {(i, j)}
        assert frame.caption.startswith(f"y[{i}, {j}{f', {f}' * (filters > 1)}] = ") and number(total) in frame.caption


def test_the_last_frame_of_slide_holds_the_whole_output(slid):
    animation, x, w, s, d, pads, options = slid
    y = oracles.conv(x[None], w, s, pads, d)[0]
    last = animation.frames[-1]
    outputs = [grid for grid in last if grid.title.split(",")[0] == "y"]
    assert [grid.texts for grid in outputs] == [written(y[..., f]) for f in range(y.shape[2])]
    if d == 1:
        by_the_book = textbook.conv2d(jnp.asarray(x, float), jnp.asarray(w, float), **options)
        assert [grid.texts for grid in outputs] == [written(by_the_book[..., f]) for f in range(y.shape[2])]
    assert all(f"{name} {value}" in last.heading for name, value in options.items())


def test_outputs_appear_one_by_one(valid):
    counts = [np.isfinite(frame["y"].values).sum() for frame in valid.frames]
    assert counts == list(range(1, 10))


def test_a_sum_is_spelled_out_where_there_is_room(valid):
    expected = "y[1, 1] = 5·1 + 3·2 + 8·0 + 3·0 + 2·(−1) + 8·1 + 8·3 + 7·0 + 2·(−2) = 37"
    assert valid.frames[4].caption == expected
    channels = slide(VOLUME, FILTERS[..., :1], stride=2).frames[0]
    parts = [(VOLUME[:3, :3, c] * FILTERS[:, :, c, 0]).sum() for c in range(3)]
    terms = " + ".join(f"({number(p)})" if p < 0 else number(p) for p in parts)
    assert channels.caption == f"y[0, 0] = {terms} = {number(sum(parts))}, one sum for each channel"
    assert slide(X / 7, W / 7).frames[0].caption == f"y[0, 0] = the sum of 9 products = {number(14 / 49)}"


def test_the_figure_shows_the_texts_of_the_frame_and_outlines_the_window(valid):
    axes = valid.draw(4).axes[0]
    assert sorted(text.get_text() for text in axes.texts) == sorted(valid.frames[4].texts)
    (outline,) = [patch for patch in axes.patches if patch.get_facecolor()[3] == 0]
    assert outline.get_edgecolor()[:3] == pytest.approx([int(BLUE[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    image = [patch for patch in axes.patches if patch is not outline][:25]  # the cells of x, row by row
    corners = np.concatenate([image[row * 5 + column].get_xy() for row in (1, 2, 3) for column in (1, 2, 3)])
    np.testing.assert_allclose(outline.get_xy().min(axis=0), corners.min(axis=0), atol=0.2)
    np.testing.assert_allclose(outline.get_xy().max(axis=0), corners.max(axis=0), atol=0.2)


def test_texts_do_not_overlap(backward):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for place in (4, 13, 24, -1):  # forward, dw, the turn, dx
        figure = backward.draw(place)
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [text.get_window_extent(renderer).shrunk(0.98, 0.9) for text in figure.axes[0].texts]
        assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)


# ----------------------------------------------------------------------------------------------- transposed convolution


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, "VALID", 1), (2, 1, 1), (1, "SAME", 1), (2, 0, 2)])
def test_transposed_convolution_adds_up_to_its_definition(stride, padding, dilation):
    x = X[:3, :3]
    animation = slide_transpose(x, W, stride=stride, padding=padding, dilation=dilation)
    pads = ((1, 1),) * 2 if padding == "SAME" else ((padding if padding != "VALID" else 0,) * 2,) * 2
    y = oracles.conv_transpose(x[None, :, :, None], W[:, :, None, None], stride, pads, dilation)[0, :, :, 0]
    last = animation.frames[-1]
    grid = last["y so far, gray is cut off" if any(map(any, pads)) else "y so far"]
    rows, columns = (slice(before, before + n) for (before, _), n in zip(pads, y.shape, strict=True))
    assert [row[columns] for row in grid.texts[rows]] == written(y)
    kept = {(r + pads[0][0], c + pads[1][0]) for r, c in np.ndindex(y.shape)}
    assert set(grid.faint) == set(np.ndindex(grid.shape)) - kept


def test_each_frame_of_the_transposed_convolution_adds_one_filter():
    x, frames = X[:3, :3], slide_transpose(X[:3, :3], W, stride=2).frames
    assert len(frames) == 9
    before = np.zeros((7, 7))
    for frame, (i, j) in zip(frames, np.ndindex(3, 3), strict=True):
        assert frame["x[i, j] · w"].texts == written(x[i, j] * W)
        before[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += x[i, j] * W
        assert frame["y so far"].texts == written(before)
        assert marked(frame["x"], SEEN) == {(i, j)} and frame.caption.startswith(f"x[{i}, {j}] = {x[i, j]}: ")


# ------------------------------------------------------------------------------------------------------------- max pool


@pytest.mark.parametrize(("window", "stride"), [(2, None), (3, 1), ((2, 3), (1, 2))])
def test_max_pool_shows_switches_and_sends_the_gradient_to_them(window, stride):
    image = X[None, :, :, None]
    size = window if isinstance(window, tuple) else (window, window)
    steps = size if stride is None else stride
    y = oracles.max_pool(image, size, steps)[0, :, :, 0]
    switches = oracles.max_pool_switches(image, size, steps)[0, :, :, 0]
    dy = np.arange(1, y.size + 1).reshape(y.shape)
    dx = oracles.max_pool_gradient(dy[None, :, :, None], image, size, steps)[0, :, :, 0]
    frames = slide_max_pool(X, window, stride=stride).frames
    assert len(frames) == 2 * y.size
    forward, back = frames[: y.size], frames[y.size :]
    assert forward[-1]["y"].texts == written(y)
    assert back[-1]["dy"].texts == written(dy) and back[-1]["dx so far"].texts == written(dx)
    (sh, sw) = steps if isinstance(steps, tuple) else (steps, steps)
    so_far = np.zeros((5, 5))
    for there, here, (i, j) in zip(forward, back, np.ndindex(y.shape), strict=True):
        row, column = divmod(int(switches[i, j]), 5)
        assert f"= {number(y[i, j])}, at the switch x[{row}, {column}]" in there.caption
        assert marked(there["the window"], NEW) == {(row - i * sh, column - j * sw)}
        assert there["the window"].texts == written(X[i * sh : i * sh + size[0], j * sw : j * sw + size[1]])
        assert marked(here["dx so far"], SEEN) == marked(here["x, with switches"], SEEN) == {(row, column)}
        so_far[row, column] += dy[i, j]
        assert here["dx so far"].texts == written(so_far)
        assert f"dx[{row}, {column}] = " in here.caption


def test_gradients_of_windows_with_one_switch_add_up():
    animation = slide_max_pool([[0, 9, 0]], (1, 2), stride=1, dy=[[2, 5]])
    assert animation.frames[-1].caption == "dy[0, 1] = 5 goes to the switch: dx[0, 1] = 2 + 5 = 7"
    assert animation.frames[-1]["dx so far"].texts == [["0", "7", "0"]]


# ------------------------------------------------------------------------------------------------------------- backward


def test_backward_shows_y_then_dw_then_the_turn_then_dx(backward):
    image, kernel, dy = X[None, :, :, None], W[:, :, None, None], DY[None, :, :, None]
    headings = [frame.heading for frame in backward.frames]
    places = {heading: headings.index(heading) for heading in headings}
    assert list(places) == [
        "Forward: y = x ⊗ w",
        "The filter's gradient: dw = x ⊗ dy",
        "The image's gradient: dx = dy ⊗ rot180(w), full",
    ]
    assert list(places.values()) == [0, 9, 18] and len(headings) == 9 + 9 + 10 + 25
    assert backward.frames[8]["y"].texts == written(oracles.conv(image, kernel)[0, :, :, 0])
    dw = oracles.conv_kernel_gradient(image, dy, kernel.shape)[:, :, 0, 0]
    assert backward.frames[17]["dw"].texts == written(dw)
    dx = oracles.conv_input_gradient(dy, kernel, image.shape)[0, :, :, 0]
    assert backward.frames[-1]["dx"].texts == written(dx)


def test_each_gradient_is_the_sum_that_its_frame_shows(backward):
    for name, frames in (("dw", backward.frames[9:18]), ("dx", backward.frames[28:])):
        for frame in frames:
            ((cell, _),) = frame[name].marks.items()
            assert frame["sum so far"].texts[-1][-1] == frame[name].texts[cell[0]][cell[1]] != ""
            assert np.nansum(frame["products"].values) == frame[name].values[cell]


def test_the_filter_turns_by_180_degrees_and_then_slides_rotated(backward):
    turning = backward.frames[18:28]
    grids = [frame.columns[1][0] for frame in turning]
    assert [grid.turn for grid in grids] == list(range(0, 181, 20))
    assert all(grid.texts == written(W) for grid in grids)
    assert [grid.title for grid in grids][::9] == ["w, turned by 0°", "w, turned by 180°"]
    drawn = [{t.get_text(): t.get_position() for t in backward.draw(place).axes[0].texts} for place in (18, 27, 28)]
    start, end, slides = [np.array(texts["−1"]) - texts["3"] for texts in drawn]  # from w[2, 0] to w[1, 1]
    np.testing.assert_allclose(end, -start, atol=0.3)
    assert backward.frames[28]["rot180(w)"].texts == written(W[::-1, ::-1])
    np.testing.assert_allclose(slides, end, atol=0.3)  # after the turn, all stand where the slide has them


def test_with_a_stride_zeros_stand_between_the_values_of_dy():
    dy = np.array([[1, -1], [2, 3]])
    animation = slide_backward(X, W, dy, stride=2)
    image, kernel = X[None, :, :, None], W[:, :, None, None]
    dw = oracles.conv_kernel_gradient(image, dy[None, :, :, None], kernel.shape, 2)[:, :, 0, 0]
    dx = oracles.conv_input_gradient(dy[None, :, :, None], kernel, image.shape, 2)[0, :, :, 0]
    (last_dw,) = [frame for frame in animation.frames if "dw" in frame.heading and frame.hold > 1]
    assert last_dw["dw"].texts == written(dw) and animation.frames[-1]["dx"].texts == written(dx)
    spread = last_dw["dy, zeros between"]
    assert spread.texts == written([[1, 0, -1], [0, 0, 0], [2, 0, 3]])
    assert set(spread.faint) == {(0, 1), (1, 0), (1, 1), (1, 2), (2, 1)}


# ---------------------------------------------------------------------------------------------------------------- files


def data_of(page):
    """What the player of a page plays."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)[1])


def test_a_gif_holds_every_frame_for_its_time_and_is_small(valid, tmp_path):
    valid.save(tmp_path / "slide.gif", seconds=5.5)
    assert [path.name for path in tmp_path.iterdir()] == ["slide.gif"]
    assert (tmp_path / "slide.gif").stat().st_size < 150_000  # with the oldest Pillow 110,000
    with Image.open(tmp_path / "slide.gif") as gif:
        assert gif.n_frames == len(valid.frames) and gif.info["loop"] == 0
        times = []
        for place in range(gif.n_frames):
            gif.seek(place)
            times.append(gif.info["duration"])
    assert times == [500] * 8 + [1500]


def test_a_page_holds_every_frame_and_needs_no_network(valid, tmp_path):
    valid.save(tmp_path / "slide.html")
    page = (tmp_path / "slide.html").read_text(encoding="utf-8")
    assert len(page) < 100_000
    assert set(re.findall(r"https?://[\w.]+", page)) == {"http://www.w3.org"}  # the name of SVG, not an address
    data = data_of(page)
    assert data["milliseconds"] == [700] * 8 + [2100]
    for shown, frame in zip(data["frames"], valid.frames, strict=True):
        texts = [data["items"][item]["text"] for item in shown if "text" in data["items"][item]]
        assert sorted(texts) == sorted(frame.texts)
    assert data["captions"][4] == f"{valid.frames[4].heading}. {valid.frames[4].caption}"
    assert data_of(valid._repr_html_()) == data, "a notebook shows the same player"


def test_other_files_and_times_are_refused_and_nothing_is_left(valid, tmp_path):
    with pytest.raises(ValueError, match=r"`path` must end in \.gif or \.html; got .*slide\.mp4"):
        valid.save(tmp_path / "slide.mp4")
    with pytest.raises(ValueError, match="`seconds` must be positive; got 0"):
        valid.save(tmp_path / "slide.gif", seconds=0)
    assert list(tmp_path.iterdir()) == []


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_the_page_plays_by_itself_in_a_browser(valid, tmp_path):
    valid.save(tmp_path / "slide.html")
    shots = []
    for milliseconds in (300, 3300):  # of the page's own clock: frames 0 and 4
        shot = tmp_path / f"{milliseconds}.png"
        subprocess.run(
            [
                BROWSER,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                f"--user-data-dir={tmp_path / 'profile'}",
                "--window-size=1020,460",
                f"--virtual-time-budget={milliseconds}",
                f"--screenshot={shot}",
                (tmp_path / "slide.html").as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        with Image.open(shot) as picture:
            shots.append(np.asarray(picture.convert("RGB")))
    early, late = shots
    assert len(np.unique(early.reshape(-1, 3), axis=0)) > 10, "an empty page would be white"
    assert (early != late).any(axis=-1).mean() > 0.005, "the window moved on"


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: slide(X[0], W), r"viz\.slide: `x` must be \(H, W\) or \(H, W, C\); got \(5,\)"),
        (lambda: slide(X, W[0]), r"viz\.slide: `kernel` must be \(kh, kw\) or .*; got \(3,\)"),
        (lambda: slide(VOLUME, W), r"viz\.slide: `kernel` expects 1 channels but `x` has 3; x \(5, 5, 3\)"),
        (lambda: slide(W, X), r"viz\.slide: `kernel` must fit into the padded input"),
        (lambda: slide([["a"]], W), r"viz\.slide: `x` must hold numbers; got \[\['a'\]\]"),
        (lambda: slide(X, [[np.inf]]), r"viz\.slide: `kernel` must hold finite numbers, at least one; got \[\[inf\]\]"),
        (lambda: slide(np.ones((17, 17)), W), r"viz\.slide: `x` would give 225 frames, and at most 200 are drawn"),
        (lambda: slide(X, W, stride=0), r"viz\.slide: `stride` must be at least 1; got 0"),
        (lambda: slide_transpose(VOLUME, W), r"viz\.slide_transpose: `x` must be \(H, W\); got \(5, 5, 3\)"),
        (lambda: slide_transpose(np.ones((15, 15)), W), r"viz\.slide_transpose: `x` would give 225 frames"),
        (lambda: slide_max_pool(X, 6), r"viz\.slide_max_pool: `window` must fit into the padded input"),
        (lambda: slide_max_pool(X, 2, dy=X), r"viz\.slide_max_pool: `dy` must have the shape .*, \(2, 2\); got \(5, 5"),
        (lambda: slide_max_pool(np.ones((22, 22)), 2), r"viz\.slide_max_pool: `x` would give 242 frames"),
        (lambda: slide_backward(X, W, X), r"viz\.slide_backward: `dy` must have the shape of x ⊗ w, \(3, 3\); got"),
        (lambda: slide_backward(np.ones((15, 15)), W, np.ones((13, 13))), r"viz\.slide_backward: `x` would give 413"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_animation_has_a_frame():
    with pytest.raises(ValueError, match="Animation: `frames` must hold at least one"):
        Animation([])


def test_a_frame_says_which_grids_it_has(valid):
    with pytest.raises(KeyError, match="'z'; the titles are 'x', 'w', 'products', 'sum so far', 'y'"):
        valid.frames[0]["z"]
